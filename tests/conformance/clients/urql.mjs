// urql with server-sent events: each request then accepts every type of response.
import { Client, fetchExchange } from "@urql/core";
import { overUrql } from "./shared/urql.mjs";

export default (url) =>
  overUrql(
    new Client({
      url,
      exchanges: [fetchExchange],
      fetchSubscriptions: true,
      preferGetMethod: false,
      fetchOptions: { headers: { "GraphQL-Preflight": "1" } },
    }),
  );
