// Apollo Client: apollo-upload-client for queries and mutations, HttpLink for multipart subscriptions.
import { ApolloClient, ApolloLink, HttpLink, InMemoryCache } from "@apollo/client";
import { OperationTypeNode } from "graphql";
import UploadHttpLink from "apollo-upload-client/UploadHttpLink.mjs";
import { overApollo } from "./shared/apollo.mjs";

export default (url) => {
  const headers = { "Apollo-Require-Preflight": "true" };
  const link = ApolloLink.split(
    ({ operationType }) => operationType === OperationTypeNode.SUBSCRIPTION,
    new HttpLink({ uri: url }),
    new UploadHttpLink({ uri: url, headers }),
  );
  return { ...overApollo(new ApolloClient({ link, cache: new InMemoryCache() })), upload: true };
};
