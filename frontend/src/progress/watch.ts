import { useEffect, useState } from "preact/hooks";
import { operationText } from "../api/graphql";
import { OneRequest, RequestProgress } from "../api/operation";
import { query } from "../api/query";
import { socket } from "../api/socket";
import type { Request } from "../api/types";
import { isFinal } from "../requests/status";
import { store } from "./store";

//: Wait before a failed subscription is opened again.
export const RESUBSCRIBE_MS = 3_000;

/** The request in the store; the component renders again when it changes. */
export function useRequest(id: string): Request | undefined {
  const [request, setRequest] = useState(() => store.get(id));
  useEffect(() => {
    const read = () => setRequest(store.get(id));
    read();
    return store.listen(id, read);
  }, [id]);
  return request?.id === id ? request : store.get(id);
}

/** Subscribes to a request while it can still change. */
export function useWatch(id: string): Request | undefined {
  const request = useRequest(id);
  const running = request !== undefined && !isFinal(request);
  useEffect(() => (running ? follow(id) : undefined), [id, running]);
  return request;
}

const watches = new Map<string, { users: number; stop: () => void }>();

/** Keeps a request in the store up to date until the returned function is called. All users of a request share one
 * subscription. */
export function follow(id: string): () => void {
  const watch = watches.get(id) ?? { users: 0, stop: start(id) };
  watches.set(id, watch);
  watch.users += 1;
  return () => {
    watch.users -= 1;
    if (watch.users) return;
    watches.delete(id);
    watch.stop();
  };
}

function start(id: string): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let stopped = false;
  let unsubscribe = () => {};
  const open = () => {
    unsubscribe = socket.subscribe<{ requestProgress: Request }>(
      { query: operationText(RequestProgress), variables: { id } },
      {
        next: ({ data }) => data && store.applyEvent(data.requestProgress),
        error: retry,
        complete: () => {
          const known = store.get(id);
          if (known && !isFinal(known)) retry();
        },
      },
    );
  };
  // Query first: the request may be deleted, and a subscription to it would only fail again.
  const retry = () => {
    if (stopped) return;
    timer = setTimeout(async () => {
      const answer = await query(OneRequest, { id }).catch(() => undefined);
      if (stopped) return;
      if (answer && !answer.request) return store.delete(id);
      if (answer?.request) store.applySnapshot(answer.request);
      // If the request is final now, the next render ends this watch.
      open();
    }, RESUBSCRIBE_MS);
  };
  open();
  return () => {
    stopped = true;
    clearTimeout(timer);
    unsubscribe();
  };
}
