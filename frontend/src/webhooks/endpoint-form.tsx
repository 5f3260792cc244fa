import { useState } from "preact/hooks";
import { CreateWebhookEndpoint, type WebhookEventType } from "../api/webhook-operation";
import type { Change } from "../parts/use-secret";

export const EVENTS: [WebhookEventType, string][] = [
  ["REQUEST_COMPLETED", "completed"],
  ["REQUEST_FAILED", "failed"],
  ["REQUEST_CANCELLED", "cancelled"],
  ["REQUEST_PROGRESSED", "progressed"],
];

/** Creates an endpoint. */
export function EndpointForm({ change }: { change: Change }) {
  const [url, setUrl] = useState("");
  const [eventTypes, setEventTypes] = useState<WebhookEventType[]>(["REQUEST_COMPLETED", "REQUEST_FAILED", "REQUEST_CANCELLED"]);
  const [busy, setBusy] = useState(false);

  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    if (await change(CreateWebhookEndpoint, { url, eventTypes }, "The endpoint was created.")) setUrl("");
    setBusy(false);
  };
  const toggle = (type: WebhookEventType, chosen: boolean) =>
    setEventTypes((old) => (chosen ? [...old, type] : old.filter((each) => each !== type)));

  return (
    <form class="card" onSubmit={submit}>
      <label>
        <span>URL of a new endpoint</span>
        <input
          type="url"
          autoComplete="off"
          required
          placeholder="https://shop.example.com/hooks/images"
          value={url}
          onInput={(event) => setUrl(event.currentTarget.value)}
        />
      </label>
      <fieldset>
        <legend>Requests that are</legend>
        {EVENTS.map(([type, name]) => (
          <label key={type} class="check">
            <input
              type="checkbox"
              checked={eventTypes.includes(type)}
              onChange={(event) => toggle(type, event.currentTarget.checked)}
            />
            <span>{name}</span>
          </label>
        ))}
      </fieldset>
      <button class="main" disabled={busy || eventTypes.length === 0}>
        Create endpoint
      </button>
    </form>
  );
}
