// One tab for each operation. The documents are files, so that a test can validate them against the schema.
import auditLog from "./samples/audit-log.graphql?raw";
import cancel from "./samples/cancel.graphql?raw";
import createKey from "./samples/create-key.graphql?raw";
import remove from "./samples/delete.graphql?raw";
import keys from "./samples/keys.graphql?raw";
import limits from "./samples/limits.graphql?raw";
import node from "./samples/node.graphql?raw";
import nodes from "./samples/nodes.graphql?raw";
import product from "./samples/product.graphql?raw";
import products from "./samples/products.graphql?raw";
import progress from "./samples/progress.graphql?raw";
import request from "./samples/request.graphql?raw";
import requests from "./samples/requests.graphql?raw";
import resendWebhook from "./samples/resend-webhook.graphql?raw";
import retry from "./samples/retry.graphql?raw";
import revokeKey from "./samples/revoke-key.graphql?raw";
import rotateKey from "./samples/rotate-key.graphql?raw";
import uploadCsv from "./samples/upload.graphql?raw";
import viewer from "./samples/viewer.graphql?raw";

export const uploadText = uploadCsv;

/** Values for the variables of these names in the samples. */
export interface Subject {
  id: string;
  productId: string;
}

export interface Tab {
  query: string;
  variables?: string;
}

/** The title of the subscription's tab in GraphiQL. */
export const PROGRESS = "Progress";

export function tabs({ id, productId }: Subject): Tab[] {
  const byId = { id };
  const samples: [string, object?][] = [
    // The first sample has no variables, since GraphiQL drops those of the first tab.
    [requests],
    [request, byId],
    [progress, byId],
    [uploadCsv, { input: { file: null, priority: "NORMAL", options: { quality: 50 } } }],
    [products, { nameContains: "" }],
    [product, { productId }],
    [node, byId],
    [nodes, { id, productId }],
    [viewer],
    [limits],
    [retry, byId],
    [cancel, byId],
    [resendWebhook, byId],
    [remove, byId],
    [keys],
    [createKey, { input: { name: "shop", scopes: ["READ", "WRITE"] } }],
    [rotateKey, { keyId: "" }],
    [revokeKey, { keyId: "" }],
    [auditLog],
  ];
  return samples.map(([query, variables]) => (variables ? { query, variables: text(variables) } : { query }));
}

/** Fills the subject into the variables of a tab and keeps all other variables. */
export function fillVariables(subject: Subject, variables: string | null): string | null {
  try {
    const current = JSON.parse(variables ?? "") as Record<string, unknown>;
    const known = Object.entries(subject).filter(([name]) => name in current);
    return known.length ? text({ ...current, ...Object.fromEntries(known) }) : variables;
  } catch {
    // The user is editing them, so they are not valid JSON.
    return variables;
  }
}

const text = (variables: object): string => JSON.stringify(variables, null, 2);
