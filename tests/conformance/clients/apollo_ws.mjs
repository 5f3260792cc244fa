// Apollo Client with all operations over WebSocket.
import { ApolloClient, InMemoryCache } from "@apollo/client";
import { GraphQLWsLink } from "@apollo/client/link/subscriptions";
import { overApollo } from "./shared/apollo.mjs";
import { socketClient } from "./shared/socket.mjs";

export default (url) => {
  const sockets = socketClient(url);
  const client = overApollo(new ApolloClient({ link: new GraphQLWsLink(sockets), cache: new InMemoryCache() }));
  return { ...client, close: () => sockets.dispose() };
};
