// Adapter for the clients of graphql-ws and graphql-sse, which have the same interface.

// Over WebSocket, errors before execution are an exception.
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
    for await (const response of events(client, { query, variables, operationName })) return response;
  },
  async subscribe(query, variables, operationName, next) {
    for await (const event of events(client, { query, variables, operationName })) await next(event);
  },
  close: () => client.dispose(),
});
