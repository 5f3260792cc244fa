import type { Request } from "../api/types";
import { count, duration, plural, rate } from "../format";
import { useClock } from "../parts/clock";
import { isFinal } from "./status";

/** Pictures done, failed and kept; a word stands beside each colour. */
export function Counts({ request }: { request: Request }) {
  const { processedImages, totalImages, failedImages, keptImages, cancelledImages } = request;
  return (
    <ul class="counts">
      <li class="done">
        <b>{count(processedImages)}</b> of {plural(totalImages, "picture")} done
      </li>
      {keptImages > 0 && (
        <li class="kept" title="Compressing them again would not have helped, so they are stored as they came">
          <b>{count(keptImages)}</b> of them were small already
        </li>
      )}
      {failedImages > 0 && (
        <li class="failed">
          <b>{count(failedImages)}</b> failed
        </li>
      )}
      {cancelledImages > 0 && (
        <li>
          <b>{count(cancelledImages)}</b> cancelled
        </li>
      )}
    </ul>
  );
}

/** Rate and time left while it runs, the time taken afterwards. */
export function Pace({ request }: { request: Request }) {
  const now = useClock(1_000);
  if (isFinal(request)) {
    const { startedAt, completedAt } = request;
    if (!startedAt || !completedAt) return null;
    return <>took {duration(Date.parse(completedAt) - Date.parse(startedAt))}</>;
  }
  const left = request.estimatedCompletionAt ? Date.parse(request.estimatedCompletionAt) - now : 0;
  const parts = [
    request.imagesPerSecond !== null && `${rate(request.imagesPerSecond)} pictures per second`,
    // An estimate that has passed is no news.
    left > 0 && `${duration(Math.ceil(left / 1000) * 1000)} left`,
  ].filter(Boolean);
  return <>{parts.join(" · ") || "Waiting for its turn"}</>;
}
