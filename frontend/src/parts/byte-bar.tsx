import { formatBytes, savedShare } from "../format";

/** The full length is the input size, the filled part the output size. */
export function ByteBar({ before, after }: { before: number; after: number }) {
  const part = savedShare(before, after) ?? 0;
  return (
    <div class="byte-bar">
      <div class="track" aria-hidden="true">
        <i style={{ width: `${100 * Math.min(1, 1 - part)}%` }} />
      </div>
      <p>
        <span>
          <b>{formatBytes(after)}</b> now
        </span>
        <span>
          <b>{formatBytes(before)}</b> before
        </span>
      </p>
    </div>
  );
}
