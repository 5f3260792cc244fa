// graphql-sse in distinct connections mode.
import { createClient } from "graphql-sse";
import { overEvents } from "./shared/events.mjs";

export default (url) => overEvents(createClient({ url, singleConnection: false, retryAttempts: 0 }));
