import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { ChangedProducts, Products } from "../api/operation";
import type { ResultOf } from "gql.tada";
import type { ProductPageFields } from "../api/fragments";
import { query } from "../api/query";
import type { Product, Request } from "../api/types";
import { pageVariables, queryVariables, PAGE_SIZE, productsVersion, type ListState } from "./list-state";

//: While images are processed, the page is reloaded at most this often.
const REFRESH_MS = 1_500;

export interface Page {
  state: ListState;
  products: Product[];
  /** Number of matching products; null without a filter, or with one that has its own count. */
  matching: number | null;
  first: string | null;
  last: string | null;
  hasPrevious: boolean;
  hasNext: boolean;
}

/** One page of a request's products, refreshed while the request runs. The old page stays until the new one arrives. */
export function useProducts(request: Request, state: ListState) {
  const [page, setPage] = useState<Page | null>(null);
  const [error, setError] = useState<string | null>(null);
  const latest = useRef(state);
  latest.current = state;

  /** Returns whether the query was answered. A `quiet` error is not shown: the refresh is retried, and the banner reports it. */
  const load = useCallback(async ({ quiet = false } = {}): Promise<boolean> => {
    try {
      const found = await read(request.id, state);
      if (latest.current !== state || !found) return true;
      const { startCursor, endCursor, hasPreviousPage, hasNextPage } = found.pageInfo;
      setError(null);
      setPage({
        state,
        products: found.edges.map(({ node }) => node),
        // Without a filter, the request has the total, also while it is being ingested.
        matching: state.status || state.name.trim() ? (found.totalCount ?? null) : null,
        first: startCursor,
        last: endCursor,
        hasPrevious: hasPreviousPage,
        hasNext: hasNextPage,
      });
      return true;
    } catch (error) {
      if (latest.current === state && !quiet) setError((error as Error).message);
      return false;
    }
  }, [request.id, state]);
  useEffect(() => void load(), [load]);

  // At most one refresh at a time, and another one afterwards if the products changed meanwhile.
  const version = productsVersion(request);
  const shownVersion = useRef(version);
  const latestVersion = useRef(version);
  latestVersion.current = version;
  const [round, setRound] = useState(0);
  const isStale = shownVersion.current !== version;
  useEffect(() => {
    if (!isStale) return;
    const timer = setTimeout(async () => {
      const requested = latestVersion.current;
      if (isSettled(page) || (await load({ quiet: true }))) shownVersion.current = requested;
      setRound((old) => old + 1);
    }, REFRESH_MS);
    return () => clearTimeout(timer);
    // Without `version`: otherwise every finished image would postpone the refresh.
  }, [isStale, round, load, page === null]);

  const total = page?.matching ?? request.totalProducts;
  return { page, total, error, load, busy: page?.state !== state && !error };
}

type Found = ResultOf<typeof ProductPageFields> & { totalCount?: number };

async function read(id: string, state: ListState): Promise<Found | undefined> {
  if (!state.change) return (await query(Products, { id, ...queryVariables(state) })).request?.products;
  const { request } = await query(ChangedProducts, { id, kind: state.change, ...pageVariables(state) });
  return request?.changes?.products;
}

/** Whether a refresh cannot change the page. Failed products can be retried, the last page can grow, and filtered lists
 * can change. */
function isSettled(page: Page | null): boolean {
  if (!page?.hasNext || page.state.status || page.state.change) return false;
  return page.products.length === PAGE_SIZE && page.products.every(({ status }) => status === "COMPLETED");
}
