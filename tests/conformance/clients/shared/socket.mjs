// The client of the package graphql-ws. Node has no built-in WebSocket before version 22.
import { createClient } from "graphql-ws";
import WebSocket from "ws";

// Apollo's link needs it too.
globalThis.WebSocket ??= WebSocket;

export const socketClient = (url) =>
  createClient({ url: url.replace(/^http/, "ws"), webSocketImpl: WebSocket, retryAttempts: 0 });
