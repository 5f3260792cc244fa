import { fetcher } from "./fetcher";
import { GraphiQL, React, ReactDOM } from "./globals";
import "./page.css";
import { tabs, type Subject } from "./samples";
import { storage } from "./storage";
import { PATH } from "./upload";
import { uploadPlugin } from "./upload-panel";

const NEWEST = "{ requests(first: 1) { edges { node { id products(first: 1) { edges { node { id } } } } } } }";

interface Newest {
  data: { requests: { edges: { node: { id: string; products: { edges: { node: { id: string } }[] } } }[] } };
}

/** The newest request, so that the samples run as they stand. */
async function newest(): Promise<Subject> {
  try {
    const response = await fetch(PATH, {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json" },
      body: JSON.stringify({ query: NEWEST }),
    });
    const request = ((await response.json()) as Newest).data.requests.edges[0]?.node;
    return { id: request?.id ?? "", productId: request?.products.edges[0]?.node.id ?? "" };
  } catch {
    return { id: "", productId: "" };
  }
}

const defaultTabs = tabs(await newest());
ReactDOM.createRoot(document.getElementById("graphiql")!).render(
  React.createElement(GraphiQL, {
    fetcher,
    defaultTabs,
    storage,
    showPersistHeadersSettings: false,
    plugins: [uploadPlugin],
    visiblePlugin: uploadPlugin,
    defaultEditorToolsVisibility: "variables",
  }),
);
