import { useEffect, useState } from "preact/hooks";
import type { RequestFilter as Filter, RequestStatus } from "../api/types";
import { describeStatus } from "./status";

//: Wait after the last key, so that not every letter starts a search.
const DEBOUNCE_MS = 250;
const STATUSES: RequestStatus[] = ["PENDING", "PROCESSING", "COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED", "CANCELLED"];

/** Filters requests by part of the file name and by status. */
export function RequestFilter({ filter, onChange }: { filter: Filter; onChange: (change: Filter) => void }) {
  const [fileName, setFileName] = useState(filter.fileName ?? "");
  useEffect(() => setFileName(filter.fileName ?? ""), [filter.fileName]);
  useEffect(() => {
    const wanted = fileName.trim() || null;
    if (wanted === (filter.fileName ?? null)) return;
    const timer = setTimeout(() => onChange({ fileName: wanted }), DEBOUNCE_MS);
    return () => clearTimeout(timer);
  }, [fileName]);

  return (
    <div class="request-filter">
      <input
        type="search"
        aria-label="Search requests by file name"
        placeholder="Search by file name"
        maxLength={200}
        value={fileName}
        onInput={(event) => setFileName(event.currentTarget.value)}
      />
      <select
        aria-label="Status of the requests"
        value={filter.status ?? ""}
        onChange={(event) => onChange({ status: (event.currentTarget.value || null) as RequestStatus | null })}
      >
        <option value="">All</option>
        {STATUSES.map((status) => (
          <option key={status} value={status}>
            {describeStatus(status)[1]}
          </option>
        ))}
      </select>
    </div>
  );
}
