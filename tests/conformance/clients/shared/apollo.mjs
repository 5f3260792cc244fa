// What can be done with an ApolloClient, whatever its links.
import { gql } from "@apollo/client";

const settings = { fetchPolicy: "no-cache", errorPolicy: "all" };
const answer = ({ data, error }) => {
  // An error that no GraphQL answer had is a fault of the transport.
  if (error && !error.errors) throw error;
  return { data, errors: error?.errors };
};

export const overApollo = (client) => ({
  async execute(document, variables) {
    const parsed = gql(document);
    if (parsed.definitions[0].operation === "mutation") {
      return answer(await client.mutate({ mutation: parsed, variables, ...settings }));
    }
    return answer(await client.query({ query: parsed, variables, ...settings }));
  },
  subscribe: (document, variables, name, next) =>
    new Promise((complete, error) => {
      client
        .subscribe({ query: gql(document), variables, ...settings })
        .subscribe({ next: (result) => next(answer(result)), error, complete });
    }),
  close: () => client.stop(),
});
