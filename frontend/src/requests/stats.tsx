import type { Request } from "../api/types";
import { formatCount, formatDuration, formatRate, pluralize } from "../format";
import { useClock } from "../parts/use-clock";
import { isFinal } from "./status";

/** The number of finished, kept, reused and failed images. Each colour also has a word. */
export function Counts({ request }: { request: Request }) {
  const { processedImages, totalImages, failedImages, keptImages, reusedImages, cancelledImages } = request;
  return (
    <ul class="counts">
      <li class="done">
        <b>{formatCount(processedImages)}</b> of {pluralize(totalImages, "image")} done
      </li>
      {keptImages > 0 && (
        <li class="kept" title="Compression would not have made these images smaller, so they are stored unchanged">
          <b>{formatCount(keptImages)}</b> of them already small
        </li>
      )}
      {reusedImages > 0 && (
        <li class="kept" title="These images were processed before with the same options, so they keep their URLs">
          <b>{formatCount(reusedImages)}</b> of them unchanged
        </li>
      )}
      {failedImages > 0 && (
        <li class="failed">
          <b>{formatCount(failedImages)}</b> failed
        </li>
      )}
      {cancelledImages > 0 && (
        <li>
          <b>{formatCount(cancelledImages)}</b> cancelled
        </li>
      )}
    </ul>
  );
}

/** Rate and time left while the request runs; the time taken afterwards. */
export function Timing({ request }: { request: Request }) {
  const now = useClock(1_000);
  if (isFinal(request)) {
    const { startedAt, completedAt } = request;
    if (!startedAt || !completedAt) return null;
    return <>took {formatDuration(Date.parse(completedAt) - Date.parse(startedAt))}</>;
  }
  const left = request.estimatedCompletionAt ? Date.parse(request.estimatedCompletionAt) - now : 0;
  const parts = [
    request.imagesPerSecond !== null && `${formatRate(request.imagesPerSecond)} images per second`,
    // Do not show an estimate that has passed.
    left > 0 && `${formatDuration(Math.ceil(left / 1000) * 1000)} left`,
  ].filter(Boolean);
  return <>{parts.join(" · ") || "Queued"}</>;
}
