import type { Refused } from "../api/types";
import { count, date, plural } from "../format";
import { IssueTable } from "../parts/issue-table";

/** Why a file was refused, with every problem where a spreadsheet shows it. */
export function Refusal({ result }: { result: Refused }) {
  if (result.__typename !== "CsvInvalid")
    return (
      <p class="fault">
        {result.message}
        {result.__typename === "QuotaExceeded" && result.retryAt && ` Try again at ${date(result.retryAt)}.`}
        {result.__typename === "WebhookUrlInvalid" && " Mend it under Options, then choose the file again."}
      </p>
    );
  const { errors, totalErrors } = result;
  return (
    <>
      <p class="fault">
        {plural(totalErrors, "problem")} found. Nothing was started; mend the file and drop it again, or begin with{" "}
        <a href="/static/template.csv" download>
          the template
        </a>
        .
      </p>
      <IssueTable issues={errors} title="Problem" />
      {totalErrors > errors.length && <p class="facts">The first {count(errors.length)} are listed.</p>}
    </>
  );
}
