import { formatCount } from "../format";
import { end, next, previous, start, type ListState } from "./list-state";
import type { Page } from "./use-products";

/** Links to the previous, next, first and last page. */
export function Pager({ page, total, onTurn }: { page: Page; total: number; onTurn: (state: ListState) => void }) {
  const { state, products, hasPrevious, hasNext } = page;
  if (!hasPrevious && !hasNext) return null;
  const first = { ...start, status: state.status, change: state.change, name: state.name };
  return (
    <nav class="pager" aria-label="Pages of products">
      <button onClick={() => onTurn(first)} disabled={!hasPrevious} aria-label="First page">
        «
      </button>
      <button onClick={() => onTurn(hasPrevious && state.from <= products.length ? first : previous(state, page))} disabled={!hasPrevious}>
        Previous
      </button>
      <p>
        {formatCount(state.from + 1)}–{formatCount(state.from + products.length)} of {formatCount(total)}
      </p>
      <button onClick={() => onTurn(next(state, page))} disabled={!hasNext}>
        Next
      </button>
      <button onClick={() => onTurn(end(state, total))} disabled={!hasNext} aria-label="Last page">
        »
      </button>
    </nav>
  );
}
