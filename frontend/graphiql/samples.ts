// One sample for each operation. The documents are files, so that a test can validate them against the schema.
import auditLog from "./samples/audit-log.graphql?raw";
import cancel from "./samples/cancel.graphql?raw";
import createKey from "./samples/create-key.graphql?raw";
import createWebhookEndpoint from "./samples/create-webhook-endpoint.graphql?raw";
import estimate from "./samples/estimate.graphql?raw";
import remove from "./samples/delete.graphql?raw";
import disableWebhookEndpoint from "./samples/disable-webhook-endpoint.graphql?raw";
import enableWebhookEndpoint from "./samples/enable-webhook-endpoint.graphql?raw";
import keys from "./samples/keys.graphql?raw";
import limits from "./samples/limits.graphql?raw";
import node from "./samples/node.graphql?raw";
import nodes from "./samples/nodes.graphql?raw";
import preview from "./samples/preview.graphql?raw";
import product from "./samples/product.graphql?raw";
import products from "./samples/products.graphql?raw";
import progress from "./samples/progress.graphql?raw";
import request from "./samples/request.graphql?raw";
import requestsChanged from "./samples/requests-changed.graphql?raw";
import requests from "./samples/requests.graphql?raw";
import resendWebhook from "./samples/resend-webhook.graphql?raw";
import retry from "./samples/retry.graphql?raw";
import revokeKey from "./samples/revoke-key.graphql?raw";
import rotateKey from "./samples/rotate-key.graphql?raw";
import rotateWebhookSecret from "./samples/rotate-webhook-secret.graphql?raw";
import testWebhookEndpoint from "./samples/test-webhook-endpoint.graphql?raw";
import uploadCsv from "./samples/upload.graphql?raw";
import viewer from "./samples/viewer.graphql?raw";
import webhookDeliveries from "./samples/webhook-deliveries.graphql?raw";
import webhookEndpoints from "./samples/webhook-endpoints.graphql?raw";

export const uploadText = uploadCsv;

/** Values for the variables of these names in the samples. */
export interface Subject {
  id: string;
  productId: string;
}

/** The newest request. Samples that are opened later use it, too. */
export const newest: Subject = { id: "", productId: "" };

export interface Sample {
  query: string;
  variables?: string;
}

/** The title of the subscription's tab in GraphiQL. */
export const PROGRESS = "Progress";
/** Number of samples that have a tab from the start. The menu has the others. */
const TABS = 7;

function samples(): Sample[] {
  const { id, productId } = newest;
  const byId = { id };
  const all: [string, object?][] = [
    // The first sample has no variables, since GraphiQL drops those of the first tab.
    [requests],
    [request, byId],
    [progress, byId],
    [uploadCsv, { input: { file: null, priority: "NORMAL", options: { quality: 50 } } }],
    [products, { nameContains: "" }],
    [retry, byId],
    [cancel, byId],
    // The samples in the menu.
    [preview, { input: { file: null } }],
    [estimate, { input: { file: null } }],
    [limits],
    [product, { productId }],
    [node, byId],
    [nodes, { id, productId }],
    [viewer],
    [resendWebhook, byId],
    [remove, byId],
    [keys],
    [createKey, { input: { name: "shop", scopes: ["READ", "WRITE"] } }],
    [rotateKey, { keyId: "" }],
    [revokeKey, { keyId: "" }],
    [auditLog],
    [requestsChanged],
    [webhookEndpoints],
    [createWebhookEndpoint, { input: { url: "https://shop.example.com/hooks/images", eventTypes: ["REQUEST_COMPLETED", "REQUEST_FAILED"] } }],
    [rotateWebhookSecret, { input: { endpointId: null } }],
    [testWebhookEndpoint, { endpointId: "" }],
    [webhookDeliveries, { endpointId: "" }],
    [disableWebhookEndpoint, { endpointId: "" }],
    [enableWebhookEndpoint, { endpointId: "" }],
  ];
  return all.map(([query, variables]) => (variables ? { query, variables: text(variables) } : { query }));
}

export const tabs = (): Sample[] => samples().slice(0, TABS);

/** The samples in the menu, by the names of their operations. */
export const menu = (): Map<string, Sample> =>
  new Map(samples().slice(TABS).map((sample) => [/^(?:query|mutation|subscription) (\w+)/m.exec(sample.query)![1]!, sample]));

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
