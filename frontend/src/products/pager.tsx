import { count } from "../format";
import { end, next, previous, start, type Place } from "./place";
import type { Page } from "./use-products";

/** From page to page, and to both ends. */
export function Pager({ page, total, onTurn }: { page: Page; total: number; onTurn: (place: Place) => void }) {
  const { place, products, hasPrevious, hasNext } = page;
  if (!hasPrevious && !hasNext) return null;
  const first = { ...start, status: place.status, name: place.name };
  return (
    <nav class="pager" aria-label="Pages of products">
      <button onClick={() => onTurn(first)} disabled={!hasPrevious} aria-label="First page">
        «
      </button>
      <button onClick={() => onTurn(hasPrevious && place.from <= products.length ? first : previous(place, page))} disabled={!hasPrevious}>
        Previous
      </button>
      <p>
        {count(place.from + 1)}–{count(place.from + products.length)} of {count(total)}
      </p>
      <button onClick={() => onTurn(next(place, page))} disabled={!hasNext}>
        Next
      </button>
      <button onClick={() => onTurn(end(place, total))} disabled={!hasNext} aria-label="Last page">
        »
      </button>
    </nav>
  );
}
