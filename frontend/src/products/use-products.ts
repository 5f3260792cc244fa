import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { Products } from "../api/operation";
import { query } from "../api/query";
import type { Product, Request } from "../api/types";
import { argumentsOf, PAGE_SIZE, tideOf, type Place } from "./place";

//: While pictures come in, the page is asked for again at most this often.
const REFRESH_MS = 1_500;

export interface Page {
  place: Place;
  products: Product[];
  /** How many match; null when all do. */
  matching: number | null;
  first: string | null;
  last: string | null;
  hasPrevious: boolean;
  hasNext: boolean;
}

/** One page of a request's products, kept fresh while the request runs. The page before it stays until it is there. */
export function useProducts(request: Request, place: Place) {
  const [page, setPage] = useState<Page | null>(null);
  const [fault, setFault] = useState<string | null>(null);
  const latest = useRef(place);
  latest.current = place;

  /** Whether it was answered; a `quiet` failure is left to the banner, since what is shown stays and is asked for again. */
  const load = useCallback(async (quiet = false): Promise<boolean> => {
    try {
      const answer = await query(Products, { id: request.id, ...argumentsOf(place) });
      const found = answer.request?.products;
      if (latest.current !== place || !found) return true;
      const { startCursor, endCursor, hasPreviousPage, hasNextPage } = found.pageInfo;
      setFault(null);
      setPage({
        place,
        products: found.edges.map(({ node }) => node),
        // Of all products the request knows the number, also while the file is still being taken in.
        matching: place.status || place.name.trim() ? found.totalCount : null,
        first: startCursor,
        last: endCursor,
        hasPrevious: hasPreviousPage,
        hasNext: hasNextPage,
      });
      return true;
    } catch (error) {
      if (latest.current === place && !quiet) setFault((error as Error).message);
      return false;
    }
  }, [request.id, place]);
  useEffect(() => void load(), [load]);

  // At most one refresh at a time, and one more afterwards when something moved meanwhile.
  const tide = tideOf(request);
  const seen = useRef(tide);
  const newest = useRef(tide);
  newest.current = tide;
  const [round, setRound] = useState(0);
  const behind = seen.current !== tide;
  useEffect(() => {
    if (!behind) return;
    const timer = setTimeout(async () => {
      const asked = newest.current;
      if (atRest(page) || (await load(true))) seen.current = asked;
      setRound((old) => old + 1);
    }, REFRESH_MS);
    return () => clearTimeout(timer);
    // Not `tide`: every picture would put the refresh off.
  }, [behind, round, load, page === null]);

  const total = page?.matching ?? request.totalProducts;
  return { page, total, fault, load, busy: page?.place !== place && !fault };
}

/** Whether another look would show the same: failed products can be retried, more may follow on the last page, and
 * filters count what changes. */
function atRest(page: Page | null): boolean {
  if (!page?.hasNext || page.place.status) return false;
  return page.products.length === PAGE_SIZE && page.products.every(({ status }) => status === "COMPLETED");
}
