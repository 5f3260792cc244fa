import type { CsvIssue } from "../api/types";
import { formatCount } from "../format";

/** Errors or warnings of a CSV file, with row and column as in a spreadsheet. */
export function IssueTable({ issues, title }: { issues: CsvIssue[]; title: string }) {
  return (
    <div class="issues" tabIndex={0} role="region" aria-label={title}>
      <table>
        <thead>
          <tr>
            <th scope="col" class="number">
              Row
            </th>
            <th scope="col">Column</th>
            <th scope="col">{title}</th>
          </tr>
        </thead>
        <tbody>
          {issues.map((issue, index) => (
            <tr key={index}>
              <td class="number">{issue.row === null ? "–" : formatCount(issue.row)}</td>
              <td>{issue.column ?? "–"}</td>
              <td>{issue.message}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
