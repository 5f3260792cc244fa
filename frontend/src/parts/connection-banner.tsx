import { useEffect, useState } from "preact/hooks";
import { reachable } from "../api/query";
import { reconnect, socketState } from "../api/socket";
import { useSignal } from "./use-signal";

//: Shorter interruptions are not shown.
const SHOW_AFTER_MS = 1_000;
//: After a restart the server answers queries a moment before live updates work again.
const ONLY_LIVE_UPDATES_AFTER_MS = 10_000;

/** Warns that the page may be out of date: the connection is lost, or only live updates are blocked. */
export function ConnectionBanner() {
  const isLost = useSignal(socketState) === "lost";
  const isReachable = useSignal(reachable);
  const isVisible = useFor(SHOW_AFTER_MS, isLost);
  const isOnlyLiveBlocked = useFor(ONLY_LIVE_UPDATES_AFTER_MS, isLost && isReachable);
  return (
    <div role="alert">
      {isVisible && (
        <div class="banner">
          {isOnlyLiveBlocked ? (
            <span>
              <strong>Live updates are blocked.</strong> The page polls every few seconds instead.
            </span>
          ) : (
            <span>
              <strong>Connection lost.</strong> The server continues to work. This page updates as soon as it can connect.
            </span>
          )}
          <button class="small" onClick={reconnect}>
            Reconnect
          </button>
        </div>
      )}
    </div>
  );
}

/** Whether the condition has been true for `ms`. */
function useFor(ms: number, condition: boolean): boolean {
  const [elapsed, setElapsed] = useState(false);
  useEffect(() => {
    if (!condition) return;
    const timer = setTimeout(() => setElapsed(true), ms);
    return () => {
      clearTimeout(timer);
      setElapsed(false);
    };
  }, [ms, condition]);
  return condition && elapsed;
}
