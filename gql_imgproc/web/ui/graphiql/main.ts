import { createClient } from "graphql-ws";
import { GraphiQL, React, ReactDOM } from "./globals";
import "./page.css";
import { tabs } from "./samples";
import { uploadPlugin } from "./upload-panel";

const path = "/graphql";
const wsClient = createClient({ url: `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}` });
const fetcher = GraphiQL.createFetcher({ url: path, wsClient });

/** The newest request, so that the samples run as they stand. */
async function newestId(): Promise<string> {
  try {
    const response = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json" },
      body: JSON.stringify({ query: "{ requests(first: 1) { edges { node { id } } } }" }),
    });
    const { data } = (await response.json()) as { data: { requests: { edges: { node: { id: string } }[] } } };
    return data.requests.edges[0]?.node.id ?? "";
  } catch {
    return "";
  }
}

const defaultTabs = tabs(await newestId());
ReactDOM.createRoot(document.getElementById("graphiql")!).render(
  React.createElement(GraphiQL, {
    fetcher,
    defaultTabs,
    plugins: [uploadPlugin],
    visiblePlugin: uploadPlugin,
    defaultEditorToolsVisibility: "variables",
  }),
);
