import { useEffect, useState } from "preact/hooks";
import { Warnings as WarningsOf } from "../api/operation";
import { query } from "../api/query";
import type { CsvIssue } from "../api/types";
import { plural } from "../format";
import { IssueTable } from "../parts/issue-table";

/** What was noticed in the file without being a reason to refuse it. */
export function Warnings({ id }: { id: string }) {
  const [warnings, setWarnings] = useState<CsvIssue[]>([]);
  useEffect(() => {
    // Without an answer the page tells so elsewhere; a remark can wait for the next look.
    query(WarningsOf, { id }).then(
      ({ request }) => setWarnings(request?.warnings ?? []),
      () => {},
    );
  }, [id]);
  if (!warnings.length) return null;
  return (
    <details class="warnings">
      <summary>{plural(warnings.length, "remark")} on the file</summary>
      <IssueTable issues={warnings} title="Remark" />
    </details>
  );
}
