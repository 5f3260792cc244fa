import { useCallback, useEffect, useState } from "preact/hooks";
import { query } from "../api/query";
import { RotateWebhookSecret, WebhookEndpoints, type WebhookEndpoint } from "../api/webhook-operation";
import { Notice } from "../parts/notice";
import { Title } from "../parts/title";
import { useSecret } from "../parts/use-secret";
import { EndpointCard } from "./endpoint-card";
import { EndpointForm } from "./endpoint-form";

/** The webhook endpoints of the tenant, for keys with the scope ADMIN. */
export function WebhooksPage() {
  const [endpoints, setEndpoints] = useState<readonly WebhookEndpoint[] | null>(null);
  const load = useCallback(async () => setEndpoints((await query(WebhookEndpoints, {})).webhookEndpoints.nodes), []);
  const { error, setError, secret, setSecret, change } = useSecret(load);
  useEffect(() => void load().catch((error: Error) => setError(error.message)), [load]);

  return (
    <div class="settings">
      <Title text="Webhooks" />
      <p class="lead">An endpoint is a URL of yours that is called for the events you choose, of every request.</p>
      {error && <Notice tone="bad" title={error} />}
      {secret && (
        <Notice title="Copy this secret now" action={{ text: "Copied", run: () => setSecret(null) }}>
          <code>{secret}</code>
          <br />
          It verifies the signatures of messages, and is not shown again.
        </Notice>
      )}
      <EndpointForm change={change} />
      <ul class="list">
        {endpoints?.map((endpoint) => (
          <EndpointCard key={endpoint.id} endpoint={endpoint} change={change} />
        ))}
      </ul>
      {endpoints?.length === 0 && <p>No endpoints yet.</p>}
      <section class="card" aria-labelledby="uploads-title">
        <h2 id="uploads-title">Webhook URLs of uploads</h2>
        <p>
          Their messages are signed with one secret for all your uploads. A new secret replaces the previous one after a day; until then,
          messages are signed with both.
        </p>
        <button onClick={() => change(RotateWebhookSecret, {}, "A new secret was created.")}>New secret for uploads</button>
      </section>
    </div>
  );
}
