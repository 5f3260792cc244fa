import type { CsvEstimate, Estimate } from "../api/types";
import { formatBytes, formatDuration, formatPercent, pluralize } from "../format";
import { describeCause } from "../requests/failures";

/** What an upload would save, and which images would fail. The file is uploaded when the button is used. */
export function EstimateResult({ result, onUpload }: { result: Estimate; onUpload: () => void }) {
  return (
    <>
      {result.__typename === "CsvEstimate" ? <Expected estimate={result} /> : <p class="error">{result.message}</p>}
      <div class="actions">
        <button class="main" onClick={onUpload}>
          Upload now
        </button>
      </div>
    </>
  );
}

function Expected({ estimate }: { estimate: CsvEstimate }) {
  const { totalImages, measuredImages, seconds, failures } = estimate;
  const saving = describeSaving(estimate);
  return (
    <div class="estimate">
      {saving && (
        <p class="save">
          <b>{saving.expected}</b> {saving.range}
        </p>
      )}
      <p class="facts">
        {[saving?.bytes, `about ${formatDuration(seconds * 1000)}`, `${measuredImages} of ${pluralize(totalImages, "image")} measured`]
          .filter(Boolean)
          .join(" · ")}
      </p>
      {failures.length > 0 && (
        <ul>
          {failures.map(({ code, images, message, exampleUrl }) => (
            <li key={code}>
              <b>{pluralize(images, "image")}</b> would fail: {describeCause(code)}.{" "}
              <small>
                For example <a href={exampleUrl} target="_blank" rel="noreferrer noopener">{shorten(exampleUrl)}</a>: {message}
              </small>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}

/** The expected saving with its interval; null if no image could be measured. */
export function describeSaving({ inputBytes, savedPercent, savedPercentLow, savedPercentHigh }: CsvEstimate) {
  if (inputBytes === null || savedPercent === null) return null;
  const [low, high] = [savedPercentLow ?? savedPercent, savedPercentHigh ?? savedPercent].map((value) => formatPercent(value / 100));
  return {
    expected: `${formatPercent(savedPercent / 100)} smaller`,
    range: low === high ? "" : `expected, ${low} to ${high}`,
    bytes: `${formatBytes(inputBytes)} become ${formatBytes(inputBytes * (1 - savedPercent / 100))}`,
  };
}

/** The last part of a URL's path, with its host. */
function shorten(url: string): string {
  const { host, pathname } = new URL(url);
  return `${host}/…/${pathname.split("/").pop()}`;
}
