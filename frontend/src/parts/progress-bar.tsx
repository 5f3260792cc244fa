import type { Request } from "../api/types";
import { formatCount, formatPercent } from "../format";

/** Compressed, kept or reused, and failed images as segments of one bar. */
export function ProgressBar({ request }: { request: Request }) {
  const { totalImages: total, processedImages, keptImages, reusedImages, failedImages, cancelledImages } = request;
  const width = (part: number) => ({ width: `${total ? (100 * part) / total : 0}%` });
  const unencoded = keptImages + reusedImages;
  const ended = processedImages + failedImages + cancelledImages;
  return (
    <div
      class="progress"
      role="progressbar"
      aria-label={`Progress of ${request.csvFilename}`}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.floor(request.progressPercent)}
      aria-valuetext={`${formatPercent(request.progressPercent / 100)}, ${formatCount(ended)} of ${formatCount(total)} images`}
    >
      <i class="part done" style={width(processedImages - unencoded)} />
      <i class="part kept" style={width(unencoded)} />
      <i class="part failed" style={width(failedImages)} />
    </div>
  );
}
