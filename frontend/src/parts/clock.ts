import { useEffect, useState } from "preact/hooks";
import { now as time } from "../api/clock";

/** The time by the server's clock, anew every `everyMs`, for what changes although nothing happened. */
export function useClock(everyMs: number): number {
  const [now, setNow] = useState(time);
  useEffect(() => {
    const timer = setInterval(() => setNow(time()), everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
  return now;
}
