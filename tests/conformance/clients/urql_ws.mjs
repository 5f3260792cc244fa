// urql with subscriptions over WebSocket.
import { Client, fetchExchange, subscriptionExchange } from "@urql/core";
import { socketClient } from "./shared/socket.mjs";
import { overUrql } from "./shared/urql.mjs";

export default (url) => {
  const sockets = socketClient(url);
  const forwardSubscription = (operation) => ({
    subscribe: (sink) => ({ unsubscribe: sockets.subscribe(operation, sink) }),
  });
  const client = new Client({
    url,
    exchanges: [fetchExchange, subscriptionExchange({ forwardSubscription })],
    preferGetMethod: false,
    fetchOptions: { headers: { "GraphQL-Preflight": "1" } },
  });
  return { ...overUrql(client), close: () => sockets.dispose() };
};
