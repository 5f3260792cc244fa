import type { Webhook, WebhookStatus } from "../api/types";
import { formatCount, pluralize } from "../format";
import { Timestamp } from "../parts/timestamp";

export const STATUS_LABELS: Record<WebhookStatus, string> = {
  PENDING: "waiting to be sent",
  DELIVERED: "delivered",
  RETRYING: "failed, will be retried",
  FAILED: "failed",
};

export function WebhookLine({ webhook }: { webhook: Webhook }) {
  const { status, attempts, lastHttpStatus, nextAttemptAt } = webhook;
  return (
    <>
      <span class={`dot ${status.toLowerCase()}`} aria-hidden="true" /> {STATUS_LABELS[status] ?? status}
      {attempts > 0 && ` after ${pluralize(attempts, "attempt")}`}
      {lastHttpStatus !== null && `, last response ${formatCount(lastHttpStatus)}`}
      {nextAttemptAt && (
        <>
          , next <Timestamp at={nextAttemptAt} />
        </>
      )}
      <br />
      <code>{webhook.url}</code>
    </>
  );
}
