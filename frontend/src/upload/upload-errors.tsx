import type { UploadError } from "../api/types";
import { formatCount, formatDate, pluralize } from "../format";
import { IssueTable } from "../parts/issue-table";

/** Why an upload was rejected. For an invalid CSV, lists the row and column of each problem. */
export function UploadErrors({ result }: { result: UploadError }) {
  if (result.__typename !== "CsvInvalid")
    return (
      <p class="error">
        {result.message}
        {result.__typename === "QuotaExceeded" && result.retryAt && ` Try again at ${formatDate(result.retryAt)}.`}
        {result.__typename === "WebhookUrlInvalid" && " Correct it under Options, then choose the file again."}
      </p>
    );
  const { errors, totalErrors } = result;
  return (
    <>
      <p class="error">
        {pluralize(totalErrors, "problem")} found. Nothing was imported. Fix the file and upload it again, or start from{" "}
        <a href="/static/template.csv" download>
          the template
        </a>
        .
      </p>
      <IssueTable issues={errors} title="Problem" />
      {totalErrors > errors.length && <p class="facts">Only the first {formatCount(errors.length)} are listed.</p>}
    </>
  );
}
