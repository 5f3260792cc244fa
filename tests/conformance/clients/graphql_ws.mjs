// graphql-ws: the reference client of graphql-transport-ws.
import { overEvents } from "./shared/events.mjs";
import { socketClient } from "./shared/socket.mjs";

export default (url) => overEvents(socketClient(url));
