import { useState } from "preact/hooks";
import { formatBytes, formatPercent } from "../format";

interface Props {
  before: { url: string; bytes: number };
  after: { url: string; bytes: number | null };
  name: string;
  width: number | null;
  height: number | null;
  onBroken: () => void;
}

/** Two images in one frame. Pointer, finger or arrow keys move the edge between them. */
export function Comparison({ before, after, name, width, height, onBroken }: Props) {
  const [at, setAt] = useState(50);
  const size = { width: width ?? undefined, height: height ?? undefined };
  return (
    <div class="comparison" style={{ "--at": `${at}%` }}>
      <img src={after.url} alt={`${name}, compressed`} {...size} />
      <img class="before" src={before.url} alt={`${name}, original`} {...size} onError={onBroken} />
      <input
        type="range"
        min="0"
        max="100"
        value={at}
        aria-label="Edge between before and after"
        aria-valuetext={`${formatPercent(at / 100)} before, ${formatPercent(1 - at / 100)} after`}
        onInput={(event) => setAt(event.currentTarget.valueAsNumber)}
      />
      <i class="edge" aria-hidden="true" />
      <span class="side" aria-hidden="true">
        Before {formatBytes(before.bytes)}
      </span>
      <span class="side right" aria-hidden="true">
        After {after.bytes !== null && formatBytes(after.bytes)}
      </span>
    </div>
  );
}
