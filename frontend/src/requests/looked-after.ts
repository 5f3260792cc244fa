import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { OneRequest } from "../api/operation";
import { query } from "../api/query";
import { socketState } from "../api/socket";
import type { Request } from "../api/types";
import { useSignal } from "../parts/use-signal";
import { store } from "../progress/store";
import { useWatch } from "../progress/watch";
import { isFinal } from "./status";

//: The subscription ends with the final status, and the webhook goes out after it.
const WEBHOOK_LOOK_MS = 3_000;
//: The subscription tells everything at once; this is for the day a proxy swallows its last event.
const RUNNING_LOOK_MS = 15_000;
//: Without a subscription, this is how progress is seen.
const WITHOUT_UPDATES_MS = 3_000;
//: What has ended may be tried again or deleted by others.
const FINAL_LOOK_MS = 30_000;

export interface LookedAfter {
  request: Request | undefined;
  /** Whether there is no such request, or no longer. */
  gone: boolean;
  /** Why it could not be asked for, the last time. */
  fault: string | null;
  load: () => Promise<void>;
}

/** A request, watched while it runs, and asked for again now and then for what no subscription tells. */
export function useLookedAfter(id: string): LookedAfter {
  const request = useWatch(id);
  const known = useRef(false);
  known.current ||= request !== undefined;
  const [missing, setMissing] = useState(false);
  // Once known, it is gone as soon as the store lost it.
  const gone = missing || (known.current && !request);
  const [fault, setFault] = useState<string | null>(null);

  const load = useCallback(async () => {
    try {
      const answer = await query(OneRequest, { id });
      setFault(null);
      if (answer.request) store.snapshot(answer.request);
      else setMissing(true);
    } catch (error) {
      setFault((error as Error).message);
    }
  }, [id]);

  useEffect(() => void load(), [load]);

  const lost = useSignal(socketState) === "lost";
  const every = request ? lookEvery(request, lost) : fault && WITHOUT_UPDATES_MS;
  useEffect(() => {
    if (!every) return;
    const look = () => document.hidden || void load();
    const timer = setInterval(look, every);
    document.addEventListener("visibilitychange", look);
    return () => {
      clearInterval(timer);
      document.removeEventListener("visibilitychange", look);
    };
  }, [every, load]);

  return { request, gone, fault, load };
}

/** How often to ask although nothing was told. */
function lookEvery(request: Request, lost: boolean): number {
  if (!isFinal(request)) return lost ? WITHOUT_UPDATES_MS : RUNNING_LOOK_MS;
  return ["PENDING", "RETRYING"].includes(request.webhook?.status ?? "") ? WEBHOOK_LOOK_MS : FINAL_LOOK_MS;
}
