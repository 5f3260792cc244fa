// Adapter for an ApolloClient with any links.
import { gql } from "@apollo/client";

const settings = { fetchPolicy: "no-cache", errorPolicy: "all" };
const toResponse = ({ data, error }) => {
  // An error without GraphQL errors is one of the transport.
  if (error && !error.errors) throw error;
  return { data, errors: error?.errors };
};

export const overApollo = (client) => ({
  async execute(document, variables) {
    const parsed = gql(document);
    if (parsed.definitions[0].operation === "mutation") {
      return toResponse(await client.mutate({ mutation: parsed, variables, ...settings }));
    }
    return toResponse(await client.query({ query: parsed, variables, ...settings }));
  },
  subscribe: (document, variables, name, next) =>
    new Promise((complete, error) => {
      client
        .subscribe({ query: gql(document), variables, ...settings })
        .subscribe({ next: (result) => next(toResponse(result)), error, complete });
    }),
  close: () => client.stop(),
});
