// Adapter for a urql client with any exchanges.
import { forEach, onEnd, pipe } from "wonka";

const toResponse = ({ data, error }) => {
  if (error?.networkError) throw error;
  return { data, errors: error?.graphQLErrors };
};

export const overUrql = (client) => ({
  async execute(document, variables) {
    const kind = document.startsWith("mutation") ? "mutation" : "query";
    return toResponse(await client[kind](document, variables).toPromise());
  },
  subscribe: (document, variables, name, next) =>
    new Promise((complete, reject) => {
      const receive = (result) => {
        try {
          // The last result arrives again, marked as the last.
          if (result.hasNext) next(toResponse(result));
        } catch (error) {
          reject(error);
        }
      };
      pipe(client.subscription(document, variables), onEnd(complete), forEach(receive));
    }),
  upload: true,
});
