// graphql-request. Since version 5, uploads need a middleware.
import extractFiles from "extract-files/extractFiles.mjs";
import isExtractableFile from "extract-files/isExtractableFile.mjs";
import { GraphQLClient } from "graphql-request";

const multipart = (request) => {
  const operation = { ...JSON.parse(request.body), variables: request.variables };
  const { clone, files } = extractFiles(operation, isExtractableFile);
  if (files.size === 0) return request;
  const body = new FormData();
  const entries = [...files];
  body.append("operations", JSON.stringify(clone));
  body.append("map", JSON.stringify(Object.fromEntries(entries.map(([, paths], number) => [number, paths]))));
  entries.forEach(([file], number) => body.append(String(number), file));
  const headers = new Headers(request.headers);
  headers.delete("Content-Type");
  return { ...request, body, headers };
};

export default (url) => {
  const headers = { "X-Requested-With": "graphql-request" };
  const client = new GraphQLClient(url, { headers, errorPolicy: "all", requestMiddleware: multipart });
  // A request that is rejected before execution has another status than 200, which is an exception here.
  const responseOf = (error) => error.response ?? Promise.reject(error);
  return { execute: (document, variables) => client.rawRequest(document, variables).catch(responseOf), upload: true };
};
