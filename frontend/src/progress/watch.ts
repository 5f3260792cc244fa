import { useEffect, useState } from "preact/hooks";
import { textOf } from "../api/graphql";
import { OneRequest, RequestProgress } from "../api/operation";
import { query } from "../api/query";
import { socket } from "../api/socket";
import type { Request } from "../api/types";
import { isFinal } from "../requests/status";
import { store } from "./store";

//: A stream the server ended with an error is asked for again after this.
export const RESUBSCRIBE_MS = 3_000;

/** The request as the store knows it, drawn again whenever it changes. */
export function useRequest(id: string): Request | undefined {
  const [request, setRequest] = useState(() => store.get(id));
  useEffect(() => {
    const read = () => setRequest(store.get(id));
    read();
    return store.listen(id, read);
  }, [id]);
  return request?.id === id ? request : store.get(id);
}

/** Follows a request while it may still change. */
export function useWatch(id: string): Request | undefined {
  const request = useRequest(id);
  const running = request !== undefined && !isFinal(request);
  useEffect(() => (running ? follow(id) : undefined), [id, running]);
  return request;
}

const watches = new Map<string, { users: number; stop: () => void }>();

/** Brings what happens to a request into the store, until the function that it returns is called. Several users share
 * one subscription. */
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
      { query: textOf(RequestProgress), variables: { id } },
      {
        next: ({ data }) => data && store.event(data.requestProgress),
        error: again,
        complete: () => {
          const known = store.get(id);
          if (known && !isFinal(known)) again();
        },
      },
    );
  };
  // The request may be gone, and then the stream would never say so: ask.
  const again = () => {
    if (stopped) return;
    timer = setTimeout(async () => {
      const answer = await query(OneRequest, { id }).catch(() => undefined);
      if (stopped) return;
      if (answer && !answer.request) return store.delete(id);
      if (answer?.request) store.snapshot(answer.request);
      // What is final now stops the watch as soon as it is drawn.
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
