import type { Webhook, WebhookStatus } from "../api/types";
import { count, plural } from "../format";
import { Moment } from "../parts/moment";

const words: Record<WebhookStatus, string> = {
  PENDING: "waiting to be sent",
  DELIVERED: "delivered",
  RETRYING: "failed, will be tried again",
  FAILED: "given up",
};

export function WebhookLine({ webhook }: { webhook: Webhook }) {
  const { status, attempts, lastHttpStatus, nextAttemptAt } = webhook;
  return (
    <>
      <span class={`dot ${status.toLowerCase()}`} aria-hidden="true" /> {words[status] ?? status}
      {attempts > 0 && ` after ${plural(attempts, "attempt")}`}
      {lastHttpStatus !== null && `, last answer ${count(lastHttpStatus)}`}
      {nextAttemptAt && (
        <>
          , next <Moment at={nextAttemptAt} />
        </>
      )}
      <br />
      <code>{webhook.url}</code>
    </>
  );
}
