// graphql-sse in its mode of distinct connections.
import { createClient } from "graphql-sse";
import { overEvents } from "./shared/events.mjs";

export default (url) => overEvents(createClient({ url, singleConnection: false, retryAttempts: 0 }));
