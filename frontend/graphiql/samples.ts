// One tab for each operation there is. The documents are files, so that a test can hold them against the schema.
import auditLog from "./samples/audit-log.graphql?raw";
import cancel from "./samples/cancel.graphql?raw";
import createKey from "./samples/create-key.graphql?raw";
import remove from "./samples/delete.graphql?raw";
import keys from "./samples/keys.graphql?raw";
import limits from "./samples/limits.graphql?raw";
import node from "./samples/node.graphql?raw";
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

/** What the samples are about: by these names their variables are filled in. */
export interface Subject {
  id: string;
  productId: string;
}

export interface Tab {
  query: string;
  variables?: string;
}

/** The title that GraphiQL gives to the tab of the subscription. */
export const PROGRESS = "Progress";

export function tabs({ id, productId }: Subject): Tab[] {
  const byId = { id };
  const samples: [string, object?][] = [
    // GraphiQL drops the variables of the first one.
    [requests],
    [request, byId],
    [progress, byId],
    [uploadCsv, { input: { file: null, priority: "NORMAL", options: { quality: 50 } } }],
    [products, { nameContains: "" }],
    [product, { productId }],
    [node, byId],
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

/** The variables of a tab, about another subject; whatever else stands in them stays. */
export function about(subject: Subject, variables: string | null): string | null {
  try {
    const given = JSON.parse(variables ?? "") as Record<string, unknown>;
    const known = Object.entries(subject).filter(([name]) => name in given);
    return known.length ? text({ ...given, ...Object.fromEntries(known) }) : variables;
  } catch {
    // Somebody is writing them.
    return variables;
  }
}

const text = (variables: object): string => JSON.stringify(variables, null, 2);
