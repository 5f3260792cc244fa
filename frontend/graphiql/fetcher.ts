import { createClient } from "graphql-ws";
import { GraphiQL, type Document } from "./globals";
import { authorizationIn, chosen, PATH, upload, type Headers, type Operation } from "./upload";

interface Options {
  documentAST?: Document;
  headers?: Headers;
}
type Fetcher = (operation: Operation, options?: Options) => unknown;

const { getOperationAST, parse } = GraphiQL.GraphQL;
//: With this the service closes a socket without a key, or with one that is not good: another try changes nothing.
const FORBIDDEN_SOCKET = 4403;

let authorization: string | null = null;
const wsClient = createClient({
  url: `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${PATH}`,
  // Browsers send no headers with a socket.
  connectionParams: () => (authorization ? { Authorization: authorization } : {}),
  shouldRetry: (problem) => problem instanceof CloseEvent && problem.code !== FORBIDDEN_SOCKET,
});

/** What runs next over the socket runs with what stands in the headers of its tab. */
function present(headers?: Headers): void {
  const next = authorizationIn(headers);
  if (next === authorization) return;
  authorization = next;
  wsClient.terminate();
}

const plain = GraphiQL.createFetcher({ url: PATH, wsClient }) as Fetcher;

const lacksFile = ({ variables }: Operation): boolean => variables?.input?.file === null;

/** Runs what stands in a tab: an upload with the file of the panel, a subscription over the WebSocket. */
export const fetcher: Fetcher = (given, givenOptions) => {
  const [operation, options] = ofThisTab(given, givenOptions);
  if (!lacksFile(operation)) {
    present(options.headers);
    return plain(operation, options);
  }
  if (!chosen.file) return { errors: [{ message: "Choose a file in the panel “Upload a CSV” first." }] };
  return upload(chosen.file, operation, options.headers);
};

/** For a moment after a change of tabs, GraphiQL gives the name and the syntax tree of the tab that was left. */
function ofThisTab(operation: Operation, options: Options = {}): [Operation, Options] {
  let documentAST: Document;
  try {
    documentAST = parse(operation.query);
  } catch {
    // The service says what is wrong with it.
    return [operation, options];
  }
  // By its own name also when there is but one: GraphiQL takes what it cannot name for no subscription.
  const named = getOperationAST(documentAST, operation.operationName) ?? getOperationAST(documentAST);
  return [{ ...operation, operationName: named?.name?.value }, { ...options, documentAST }];
}
