import { useState } from "preact/hooks";
import { bytes, percent } from "../format";

interface Props {
  before: { url: string; bytes: number };
  after: { url: string; bytes: number | null };
  name: string;
  width: number | null;
  height: number | null;
  onBroken: () => void;
}

/** Two pictures in one frame, the edge between them moved by pointer, finger or arrow keys. */
export function Comparison({ before, after, name, width, height, onBroken }: Props) {
  const [at, setAt] = useState(50);
  const size = { width: width ?? undefined, height: height ?? undefined };
  return (
    <div class="comparison" style={{ "--at": `${at}%` }}>
      <img src={after.url} alt={`${name}, as stored`} {...size} />
      <img class="before" src={before.url} alt={`${name}, the source`} {...size} onError={onBroken} />
      <input
        type="range"
        min="0"
        max="100"
        value={at}
        aria-label="Edge between before and after"
        aria-valuetext={`${percent(at / 100)} before, ${percent(1 - at / 100)} after`}
        onInput={(event) => setAt(event.currentTarget.valueAsNumber)}
      />
      <i class="edge" aria-hidden="true" />
      <span class="side" aria-hidden="true">
        Before {bytes(before.bytes)}
      </span>
      <span class="side right" aria-hidden="true">
        After {after.bytes !== null && bytes(after.bytes)}
      </span>
    </div>
  );
}
