import { createClient } from "graphql-ws";
import { GraphiQL, type Document } from "./globals";
import { authorizationIn, PATH, selection, upload, type Headers, type Operation } from "./upload";

interface Options {
  documentAST?: Document;
  headers?: Headers;
}
type Fetcher = (operation: Operation, options?: Options) => unknown;

const { getOperationAST, parse } = GraphiQL.GraphQL;
//: Close code for a missing or invalid API key; a retry would not help.
const FORBIDDEN_CLOSE_CODE = 4403;

let authorization: string | null = null;
const wsClient = createClient({
  url: `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${PATH}`,
  // Browsers cannot set headers for a WebSocket.
  connectionParams: () => (authorization ? { Authorization: authorization } : {}),
  shouldRetry: (problem) => problem instanceof CloseEvent && problem.code !== FORBIDDEN_CLOSE_CODE,
});

/** Uses the authorization header of the current tab for the WebSocket. */
function authorizeSocket(headers?: Headers): void {
  const next = authorizationIn(headers);
  if (next === authorization) return;
  authorization = next;
  wsClient.terminate();
}

const plain = GraphiQL.createFetcher({ url: PATH, wsClient }) as Fetcher;

const needsFile = ({ variables }: Operation): boolean => variables?.input?.file === null;

/** Runs the operation of a tab: an upload with the file of the panel, a subscription over the WebSocket. */
export const fetcher: Fetcher = (tabOperation, tabOptions) => {
  const [operation, options] = matchTab(tabOperation, tabOptions);
  if (!needsFile(operation)) {
    authorizeSocket(options.headers);
    return plain(operation, options);
  }
  if (!selection.file) return { errors: [{ message: "Choose a file in the panel “Upload a CSV” first." }] };
  return upload(selection.file, operation, options.headers);
};

/** Corrects name and syntax tree: right after a change of tabs, GraphiQL still passes those of the previous tab. */
function matchTab(operation: Operation, options: Options = {}): [Operation, Options] {
  let documentAST: Document;
  try {
    documentAST = parse(operation.query);
  } catch {
    // The server reports the syntax error.
    return [operation, options];
  }
  // Set the name even for a single operation: GraphiQL recognises a subscription only by its name.
  const named = getOperationAST(documentAST, operation.operationName) ?? getOperationAST(documentAST);
  return [{ ...operation, operationName: named?.name?.value }, { ...options, documentAST }];
}
