import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { OneRequest } from "../api/operation";
import { query } from "../api/query";
import { socketState } from "../api/socket";
import type { Request } from "../api/types";
import { useSignal } from "../parts/use-signal";
import { store } from "../progress/store";
import { useWatch } from "../progress/watch";
import { isFinal } from "./status";

//: The webhook is sent after the final status, when the subscription has ended.
const WEBHOOK_POLL_MS = 3_000;
//: A safety net: a proxy may lose the last event of the subscription.
const RUNNING_POLL_MS = 15_000;
//: Without a connection for live updates, polling shows the progress.
const DISCONNECTED_POLL_MS = 3_000;
//: Other clients may retry or delete a finished request.
const FINAL_POLL_MS = 30_000;

export interface PolledRequest {
  request: Request | undefined;
  /** Whether the request does not exist, or was deleted. */
  isGone: boolean;
  /** Why the last query failed. */
  error: string | null;
  load: () => Promise<void>;
}

/** A request with live updates, plus polling for changes that the subscription does not deliver. */
export function useRequestPolling(id: string): PolledRequest {
  const request = useWatch(id);
  const wasLoaded = useRef(false);
  wasLoaded.current ||= request !== undefined;
  const [isMissing, setMissing] = useState(false);
  // A request that was loaded and is no longer in the store was deleted.
  const isGone = isMissing || (wasLoaded.current && !request);
  const [error, setError] = useState<string | null>(null);

  const load = useCallback(async () => {
    try {
      const answer = await query(OneRequest, { id });
      setError(null);
      if (answer.request) store.applySnapshot(answer.request);
      else setMissing(true);
    } catch (error) {
      setError((error as Error).message);
    }
  }, [id]);

  useEffect(() => void load(), [load]);

  const lost = useSignal(socketState) === "lost";
  const every = request ? pollInterval(request, lost) : error && DISCONNECTED_POLL_MS;
  useEffect(() => {
    if (!every) return;
    const poll = () => document.hidden || void load();
    const timer = setInterval(poll, every);
    document.addEventListener("visibilitychange", poll);
    return () => {
      clearInterval(timer);
      document.removeEventListener("visibilitychange", poll);
    };
  }, [every, load]);

  return { request, isGone, error, load };
}

/** How often to poll, depending on the status. */
function pollInterval(request: Request, isConnectionLost: boolean): number {
  if (!isFinal(request)) return isConnectionLost ? DISCONNECTED_POLL_MS : RUNNING_POLL_MS;
  return ["PENDING", "RETRYING"].includes(request.webhook?.status ?? "") ? WEBHOOK_POLL_MS : FINAL_POLL_MS;
}
