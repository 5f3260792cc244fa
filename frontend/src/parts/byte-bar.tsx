import { bytes, saved } from "../format";

/** The whole length is what came in, the filled part is what it became. */
export function ByteBar({ before, after }: { before: number; after: number }) {
  const part = saved(before, after) ?? 0;
  return (
    <div class="byte-bar">
      <div class="track" aria-hidden="true">
        <i style={{ width: `${100 * Math.min(1, 1 - part)}%` }} />
      </div>
      <p>
        <span>
          <b>{bytes(after)}</b> now
        </span>
        <span>
          <b>{bytes(before)}</b> before
        </span>
      </p>
    </div>
  );
}
