//: What the network may take, and what a header in whole seconds can't tell; less is no skew.
const NOTICED_MS = 3_000;

let ahead = 0;

/** Learns from an answer how far the clock of the server is ahead of ours. */
export function setByServer(header: string | null): void {
  const skew = header ? Date.parse(header) - Date.now() : NaN;
  if (!Number.isNaN(skew)) ahead = Math.abs(skew) < NOTICED_MS ? 0 : skew;
}

/** The time by the clock that wrote every moment the page shows; that of a computer may be hours off. */
export const now = (): number => Date.now() + ahead;
