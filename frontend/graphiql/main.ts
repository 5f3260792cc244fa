import { fetcher } from "./fetcher";
import { GraphiQL, React, ReactDOM } from "./globals";
import "./page.css";
import { SampleMenu } from "./sample-menu";
import { newest, tabs, type Subject } from "./samples";
import { storage } from "./storage";
import { PATH } from "./upload";
import { uploadPlugin } from "./upload-plugin";

const NEWEST_REQUEST = "{ requests(first: 1) { edges { node { id products(first: 1) { edges { node { id } } } } } } }";

interface NewestRequest {
  data: { requests: { edges: { node: { id: string; products: { edges: { node: { id: string } }[] } } }[] } };
}

/** Returns the newest request, so that the samples run without changes. */
async function fetchNewestRequest(): Promise<Subject> {
  try {
    const response = await fetch(PATH, {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json" },
      body: JSON.stringify({ query: NEWEST_REQUEST }),
    });
    const request = ((await response.json()) as NewestRequest).data.requests.edges[0]?.node;
    return { id: request?.id ?? "", productId: request?.products.edges[0]?.node.id ?? "" };
  } catch {
    return { id: "", productId: "" };
  }
}

Object.assign(newest, await fetchNewestRequest());
ReactDOM.createRoot(document.getElementById("graphiql")!).render(
  React.createElement(
    GraphiQL,
    {
      fetcher,
      defaultTabs: tabs(),
      storage,
      showPersistHeadersSettings: false,
      plugins: [uploadPlugin],
      visiblePlugin: uploadPlugin,
      defaultEditorToolsVisibility: "variables",
    },
    // The place next to the tabs.
    React.createElement(GraphiQL.Logo, null, React.createElement(SampleMenu)),
  ),
);
