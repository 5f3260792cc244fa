import type { ChangeKind, ProductStatus, Request } from "../api/types";

//: Products per page, each with all its images: well under the server's cost limit and fast to render.
export const PAGE_SIZE = 24;

/** Filters and page of the product list. */
export interface ListState {
  status: ProductStatus | null;
  /** How products changed since the earlier request; then there is no other filter. */
  change: ChangeKind | null;
  name: string;
  /** Cursor before the page, or after it if `backward`; null for the start or the end of the list. */
  cursor: string | null;
  backward: boolean;
  /** Number of products before this page. */
  from: number;
}

export const start: ListState = { status: null, change: null, name: "", cursor: null, backward: false, from: 0 };

/** The variables of the query. */
export function queryVariables(state: ListState) {
  return { status: state.status, nameContains: state.name.trim() || null, ...pageVariables(state) };
}

export function pageVariables({ cursor, backward }: ListState) {
  return backward ? { last: PAGE_SIZE, before: cursor } : { first: PAGE_SIZE, after: cursor };
}

/** The state as URL parameters, so that a reload shows the same page. */
export function toHashParams({ status, change, name, cursor, backward, from }: ListState): URLSearchParams {
  const params = new URLSearchParams();
  if (status) params.set("status", status);
  if (change) params.set("change", change);
  if (name) params.set("name", name);
  if (backward) params.set("before", cursor ?? "");
  else if (cursor) params.set("after", cursor);
  if (from) params.set("from", String(from));
  return params;
}

export function fromHashParams(params: URLSearchParams): ListState {
  const before = params.get("before");
  return {
    status: params.get("status") as ProductStatus | null,
    change: params.get("change") as ChangeKind | null,
    name: params.get("name") ?? "",
    cursor: (before ?? params.get("after")) || null,
    backward: before !== null,
    from: Number(params.get("from")) || 0,
  };
}

interface CurrentPage {
  products: unknown[];
  first: string | null;
  last: string | null;
}

/** The pages around the current one. */
export const next = (state: ListState, { products, last }: CurrentPage): ListState => ({ ...state, cursor: last, backward: false, from: state.from + products.length });
export const previous = (state: ListState, { first }: CurrentPage): ListState => ({ ...state, cursor: first, backward: true, from: Math.max(0, state.from - PAGE_SIZE) });
export const end = (state: ListState, total: number): ListState => ({ ...state, cursor: null, backward: true, from: Math.max(0, total - PAGE_SIZE) });

/** A text that changes whenever products of the request may have changed. */
export function productsVersion(request: Request): string {
  return [request.status, request.processedProducts, request.failedProducts, request.processedImages, request.failedImages].join();
}
