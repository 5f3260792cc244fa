import { useEffect, useRef, useState } from "preact/hooks";
import { CancelRequest, DeleteRequest, ResendWebhook, RetryFailedImages } from "../api/operation";
import type { Request } from "../api/types";
import { ConfirmDialog } from "../parts/confirm-dialog";
import { pluralize } from "../format";
import { toSameOrigin } from "../route";
import { isFinal } from "./status";
import { useChange } from "./use-change";

/** The URL of the output of a workbook as CSV. */
const withFormat = (url: string) => `${url}${url.includes("?") ? "&" : "?"}format=csv`;

/** The actions that the status of the request allows. */
export function Actions({ request }: { request: Request }) {
  const { busy, error, change } = useChange(request);
  const [confirming, setConfirming] = useState<"cancel" | "delete" | null>(null);
  const final = isFinal(request);
  const isWorkbook = /\.(xls[xmb]?|ods)$/i.test(request.csvFilename);

  // The used button may disappear. Keep the keyboard focus here instead of at the top of the page.
  const group = useRef<HTMLDivElement>(null);
  const hasActed = useRef(false);
  hasActed.current ||= busy;
  useEffect(() => {
    if (hasActed.current && !busy && document.activeElement === document.body) group.current!.focus();
  }, [busy, request.status]);

  return (
    <div ref={group} class="actions" role="group" aria-label="Actions" tabIndex={-1}>
      {request.outputCsvUrl && (
        <a class="button main" href={toSameOrigin(request.outputCsvUrl)} download>
          Download output {isWorkbook ? "Excel file" : "CSV"}
        </a>
      )}
      {request.outputCsvUrl && isWorkbook && (
        <a class="button" href={withFormat(toSameOrigin(request.outputCsvUrl))} download>
          Download output CSV
        </a>
      )}
      {request.partialCsvUrl && (
        <a class="button" href={toSameOrigin(request.partialCsvUrl)} download>
          Download CSV so far
        </a>
      )}
      {request.reportCsvUrl && (
        <a class="button" href={toSameOrigin(request.reportCsvUrl)} download>
          Download report
        </a>
      )}
      {request.archiveUrl && request.processedImages > 0 && (
        <a class="button" href={toSameOrigin(request.archiveUrl)} download>
          Download images (ZIP)
        </a>
      )}
      {final && request.failedImages > 0 && (
        <button disabled={busy} onClick={() => change(RetryFailedImages, "Retrying the failed images.")}>
          Retry {pluralize(request.failedImages, "failed image")}
        </button>
      )}
      {final && request.webhook && (
        <button disabled={busy} onClick={() => change(ResendWebhook, "The webhook will be sent again.")}>
          Resend webhook
        </button>
      )}
      {!final && (
        <button class="danger" disabled={busy} onClick={() => setConfirming("cancel")}>
          Cancel
        </button>
      )}
      {final && (
        <button class="danger" disabled={busy} onClick={() => setConfirming("delete")}>
          Delete
        </button>
      )}
      {error && (
        <p class="error" role="alert">
          {error}
        </p>
      )}
      {confirming === "cancel" && (
        <ConfirmDialog
          title="Cancel this request?"
          text="Finished images are kept. The others are not downloaded."
          yes="Cancel the request"
          no="Keep running"
          onYes={() => change(CancelRequest, "The request was cancelled.")}
          onClose={() => setConfirming(null)}
        />
      )}
      {confirming === "delete" && (
        <ConfirmDialog
          title={`Delete ${request.csvFilename}?`}
          text="This also deletes its stored images and the output CSV. Their URLs stop working."
          yes="Delete permanently"
          no="Keep"
          onYes={() => change(DeleteRequest, "The request was deleted.")}
          onClose={() => setConfirming(null)}
        />
      )}
    </div>
  );
}
