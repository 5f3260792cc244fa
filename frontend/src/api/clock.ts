//: Skew below this is ignored: the `Date` header has whole seconds, and the network adds some delay.
const MIN_SKEW_MS = 3_000;

let skewMs = 0;

/** Measures the clock skew to the server from a `Date` response header. */
export function setByServer(header: string | null): void {
  const measured = header ? Date.parse(header) - Date.now() : NaN;
  if (!Number.isNaN(measured)) skewMs = Math.abs(measured) < MIN_SKEW_MS ? 0 : measured;
}

/** The server's time. All timestamps on the page come from the server; the computer's clock may be hours off. */
export const now = (): number => Date.now() + skewMs;
