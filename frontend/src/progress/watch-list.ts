import { operationText } from "../api/graphql";
import { RequestsChanged } from "../api/operation";
import { socket } from "../api/socket";
import type { RequestFilter, RequestPage } from "../api/types";
import { RESUBSCRIBE_MS } from "./watch";

/** Calls `show` with the first page of matching requests, now and after each change, until the returned function is called. */
export function watchList(first: number, filter: RequestFilter, show: (page: RequestPage) => void): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let stopped = false;
  let unsubscribe = () => {};
  const open = () => {
    unsubscribe = socket.subscribe<{ requestsChanged: RequestPage }>(
      { query: operationText(RequestsChanged), variables: { first, filter } },
      { next: ({ data }) => data && show(data.requestsChanged), error: retry, complete: retry },
    );
  };
  const retry = () => {
    if (!stopped) timer = setTimeout(open, RESUBSCRIBE_MS);
  };
  open();
  return () => {
    stopped = true;
    clearTimeout(timer);
    unsubscribe();
  };
}
