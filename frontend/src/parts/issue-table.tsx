import type { CsvIssue } from "../api/types";
import { count } from "../format";

/** What is wrong or noteworthy in a file, where a spreadsheet shows it. */
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
              <td class="number">{issue.row === null ? "–" : count(issue.row)}</td>
              <td>{issue.column ?? "–"}</td>
              <td>{issue.message}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
