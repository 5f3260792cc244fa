import { useEffect, useState } from "preact/hooks";
import { reachable } from "../api/query";
import { reconnect, socketState } from "../api/socket";
import { useSignal } from "./use-signal";

//: A blink of the network shorter than this is nobody's business.
const SHOW_AFTER_MS = 1_000;
//: A server that is back answers questions a moment before live updates come through again.
const TELL_APART_AFTER_MS = 10_000;

/** Says that what is shown may be old: after a second, and how bad it is once that is certain. */
export function ConnectionBanner() {
  const lost = useSignal(socketState) === "lost";
  const answers = useSignal(reachable);
  const shown = useFor(SHOW_AFTER_MS, lost);
  const onlyLive = useFor(TELL_APART_AFTER_MS, lost && answers);
  return (
    <div role="alert">
      {shown && (
        <div class="banner">
          {onlyLive ? (
            <span>
              <strong>Live updates don’t get through.</strong> The figures are asked for every few seconds instead.
            </span>
          ) : (
            <span>
              <strong>Connection lost.</strong> Work goes on at the server; the figures here catch up as soon as it answers.
            </span>
          )}
          <button class="small" onClick={reconnect}>
            Try now
          </button>
        </div>
      )}
    </div>
  );
}

/** Whether it has been so for that long. */
function useFor(ms: number, so: boolean): boolean {
  const [long, setLong] = useState(false);
  useEffect(() => {
    if (!so) return;
    const timer = setTimeout(() => setLong(true), ms);
    return () => {
      clearTimeout(timer);
      setLong(false);
    };
  }, [ms, so]);
  return so && long;
}
