import { createClient } from "graphql-ws";
import { GraphiQL } from "./globals";
import { chosen, PATH, upload, type Operation } from "./upload";

type Fetcher = (operation: Operation, options?: unknown) => unknown;

const wsClient = createClient({ url: `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${PATH}` });
const plain = GraphiQL.createFetcher({ url: PATH, wsClient }) as Fetcher;

const lacksFile = ({ variables }: Operation): boolean => variables?.input?.file === null;

/** Runs what stands in a tab: an upload with the file of the panel, a subscription over the WebSocket. */
export const fetcher: Fetcher = (operation, options) => {
  if (!lacksFile(operation)) return plain(operation, options);
  if (!chosen.file) return { errors: [{ message: "Choose a file in the panel “Upload a CSV” first." }] };
  return upload(chosen.file, operation);
};
