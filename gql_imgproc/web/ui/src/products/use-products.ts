import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { Products } from "../api/operation";
import { query } from "../api/query";
import type { ProductStatus, Request } from "../api/types";
import { mayChange, tideOf, type Page } from "./product-pages";

//: Products with all their pictures in one answer; well under the server's cost limit.
const PAGE_SIZE = 24;
//: While pictures come in, the list is asked again at most this often.
const REFRESH_MS = 1_500;
//: Pages asked again in one go; those further up have usually come to rest.
const REFRESH_PAGES = 3;

/** Products of a request, page by page, kept fresh while the request runs. */
export function useProducts(request: Request, status: ProductStatus | null) {
  const [pages, setPages] = useState<Page[] | null>(null);
  const [total, setTotal] = useState(0);
  const [fault, setFault] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const current = useRef({ status, pages });
  current.current = { status, pages };

  const load = useCallback(
    async (after: string | null): Promise<Page> => {
      const answer = await query(Products, { id: request.id, first: PAGE_SIZE, after, status });
      const found = answer.request?.products;
      setFault(null);
      if (found) setTotal(found.totalCount);
      return {
        after,
        products: found?.edges.map(({ node }) => node) ?? [],
        end: found?.pageInfo.endCursor ?? null,
        more: found?.pageInfo.hasNextPage ?? false,
      };
    },
    [request.id, status],
  );

  const start = useCallback(() => {
    setPages(null);
    load(null)
      .then((page) => current.current.status === status && setPages([page]))
      .catch((error: Error) => setFault(error.message));
  }, [load]);
  useEffect(start, [start]);

  const more = useCallback(async () => {
    const last = current.current.pages?.at(-1);
    if (!last?.more) return;
    setBusy(true);
    try {
      const page = await load(last.end);
      if (current.current.status === status) setPages((old) => [...(old ?? []), page]);
    } catch (error) {
      setFault((error as Error).message);
    }
    setBusy(false);
  }, [load]);

  const refresh = useCallback(async () => {
    const stale = (current.current.pages ?? []).filter((page) => mayChange(page, PAGE_SIZE)).slice(0, REFRESH_PAGES);
    for (const old of stale) {
      const fresh = await load(old.after);
      if (current.current.status !== status) return;
      setPages((known) => known?.map((page) => (page.after === old.after ? fresh : page)) ?? null);
    }
  }, [load]);

  // At most one refresh at a time, and one more afterwards when something moved meanwhile.
  const tide = tideOf(request);
  const seen = useRef(tide);
  const latest = useRef(tide);
  latest.current = tide;
  const [round, setRound] = useState(0);
  const behind = seen.current !== tide;
  useEffect(() => {
    if (!behind) return;
    const timer = setTimeout(async () => {
      const asked = latest.current;
      await refresh()
        .then(() => (seen.current = asked))
        .catch((error: Error) => setFault(error.message));
      setRound((old) => old + 1);
    }, REFRESH_MS);
    return () => clearTimeout(timer);
  }, [behind, round, refresh]);

  return { pages, total, fault, busy, more, start };
}
