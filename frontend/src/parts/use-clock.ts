import { useEffect, useState } from "preact/hooks";
import { now as time } from "../api/clock";

/** The server's time, updated every `everyMs`. For texts that change as time passes. */
export function useClock(everyMs: number): number {
  const [now, setNow] = useState(time);
  useEffect(() => {
    const timer = setInterval(() => setNow(time()), everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
  return now;
}
