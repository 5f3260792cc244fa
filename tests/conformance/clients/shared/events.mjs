// What can be done with the clients of graphql-ws and graphql-sse, which are alike.

// Errors that end an operation before it has begun come as an exception over a socket.
const events = async function* (client, operation) {
  try {
    yield* client.iterate(operation);
  } catch (errors) {
    if (!Array.isArray(errors)) throw errors;
    yield { errors };
  }
};

export const overEvents = (client) => ({
  async execute(query, variables, operationName) {
    for await (const answer of events(client, { query, variables, operationName })) return answer;
  },
  async subscribe(query, variables, operationName, next) {
    for await (const event of events(client, { query, variables, operationName })) await next(event);
  },
  close: () => client.dispose(),
});
