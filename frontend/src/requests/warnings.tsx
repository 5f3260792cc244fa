import { useEffect, useState } from "preact/hooks";
import { Warnings as WarningsOf } from "../api/operation";
import { query } from "../api/query";
import type { CsvIssue } from "../api/types";
import { pluralize } from "../format";
import { IssueTable } from "../parts/issue-table";

/** Problems in the CSV file that did not prevent the import. */
export function Warnings({ id }: { id: string }) {
  const [warnings, setWarnings] = useState<CsvIssue[]>([]);
  useEffect(() => {
    // The page reports a lost connection elsewhere, so an error is ignored here.
    query(WarningsOf, { id }).then(
      ({ request }) => setWarnings(request?.warnings ?? []),
      () => {},
    );
  }, [id]);
  if (!warnings.length) return null;
  return (
    <details class="warnings">
      <summary>{pluralize(warnings.length, "warning")} about the file</summary>
      <IssueTable issues={warnings} title="Warning" />
    </details>
  );
}
