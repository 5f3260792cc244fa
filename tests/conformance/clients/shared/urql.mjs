// What can be done with a client of urql, whatever its exchanges.
import { forEach, onEnd, pipe } from "wonka";

const answer = ({ data, error }) => {
  if (error?.networkError) throw error;
  return { data, errors: error?.graphQLErrors };
};

export const overUrql = (client) => ({
  async execute(document, variables) {
    const kind = document.startsWith("mutation") ? "mutation" : "query";
    return answer(await client[kind](document, variables).toPromise());
  },
  subscribe: (document, variables, name, next) =>
    new Promise((complete, refuse) => {
      const take = (result) => {
        try {
          // The last result comes again, marked as the last.
          if (result.hasNext) next(answer(result));
        } catch (error) {
          refuse(error);
        }
      };
      pipe(client.subscription(document, variables), onEnd(complete), forEach(take));
    }),
  upload: true,
});
