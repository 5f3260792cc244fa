import { useState } from "preact/hooks";
import { query } from "../api/query";
import {
  DisableWebhookEndpoint,
  EnableWebhookEndpoint,
  RotateWebhookSecret,
  TestWebhookEndpoint,
  WebhookDeliveries,
  type WebhookEndpoint,
  type WebhookEndpointDelivery,
} from "../api/webhook-operation";
import { Timestamp } from "../parts/timestamp";
import type { Change } from "../parts/use-secret";
import { STATUS_LABELS } from "../requests/webhook";
import { EVENTS } from "./endpoint-form";

const REASONS: Record<string, string> = {
  CALLER: "disabled",
  GONE: "disabled: it responded with 410 (Gone)",
  FAILING: "disabled: it failed for five days",
};

/** An endpoint with its actions and its latest deliveries. */
export function EndpointCard({ endpoint, change }: { endpoint: WebhookEndpoint; change: Change }) {
  const { id, url, enabled, disabledReason, failingSince } = endpoint;
  const [deliveries, setDeliveries] = useState<readonly WebhookEndpointDelivery[] | null>(null);
  const [error, setError] = useState<string | null>(null);
  const events = EVENTS.filter(([type]) => endpoint.eventTypes.includes(type)).map(([, name]) => name);

  const load = async () => {
    try {
      setDeliveries((await query(WebhookDeliveries, { endpointId: id })).webhookDeliveries.nodes);
      setError(null);
    } catch (error) {
      setError((error as Error).message);
    }
  };
  const test = async () => {
    if (await change(TestWebhookEndpoint, { id }, "A test was sent.")) await load();
  };

  return (
    <li class="card">
      <div class="line">
        <h2>
          <code>{url}</code>
        </h2>
        <span class={`badge ${enabled ? (failingSince ? "warn" : "good") : "bad"}`}>
          {enabled ? (failingSince ? "failing" : "enabled") : (REASONS[disabledReason ?? ""] ?? "disabled")}
        </span>
      </div>
      <p class="facts">{events.join(", ")}</p>
      <div class="actions" role="group" aria-label={`Actions of ${url}`}>
        {enabled && (
          <button class="small" onClick={test}>
            Send test
          </button>
        )}
        <button class="small" onClick={load}>
          {deliveries ? "Reload deliveries" : "Show deliveries"}
        </button>
        <button class="small" onClick={() => change(RotateWebhookSecret, { endpointId: id }, "A new secret was created.")}>
          New secret
        </button>
        {enabled ? (
          <button class="small danger" onClick={() => change(DisableWebhookEndpoint, { id }, "The endpoint was disabled.")}>
            Disable
          </button>
        ) : (
          <button class="small" onClick={() => change(EnableWebhookEndpoint, { id }, "The endpoint was enabled.")}>
            Enable
          </button>
        )}
        {error && (
          <p class="error" role="alert">
            {error}
          </p>
        )}
      </div>
      {deliveries?.length === 0 && <p class="facts">No deliveries in the last 30 days.</p>}
      {deliveries !== null && deliveries.length > 0 && (
        <ul>
          {deliveries.map((delivery) => (
            <DeliveryLine key={delivery.id} delivery={delivery} />
          ))}
        </ul>
      )}
    </li>
  );
}

function DeliveryLine({ delivery }: { delivery: WebhookEndpointDelivery }) {
  const { status, eventType, lastHttpStatus, occurredAt } = delivery;
  const error = status === "DELIVERED" ? null : delivery.log.at(-1)?.error;
  return (
    <li>
      <span class={`dot ${status.toLowerCase()}`} aria-hidden="true" /> {eventType.toLowerCase().replace("_", ".")}{" "}
      {STATUS_LABELS[status] ?? status}
      {lastHttpStatus !== null && `, last response ${lastHttpStatus}`}, <Timestamp at={occurredAt} />
      {error && <small> {error}</small>}
    </li>
  );
}
