import type { Request } from "../api/types";
import { count, percent } from "../format";

/** Done, kept and failed pictures as parts of one bar. */
export function ProgressBar({ request }: { request: Request }) {
  const { totalImages: total, processedImages, keptImages, failedImages, cancelledImages } = request;
  const width = (part: number) => ({ width: `${total ? (100 * part) / total : 0}%` });
  const ended = processedImages + failedImages + cancelledImages;
  return (
    <div
      class="progress"
      role="progressbar"
      aria-label={`Progress of ${request.csvFilename}`}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.floor(request.progressPercent)}
      aria-valuetext={`${percent(request.progressPercent / 100)}, ${count(ended)} of ${count(total)} pictures`}
    >
      <i class="part done" style={width(processedImages - keptImages)} />
      <i class="part kept" style={width(keptImages)} />
      <i class="part failed" style={width(failedImages)} />
    </div>
  );
}
