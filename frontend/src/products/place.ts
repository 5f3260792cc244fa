import type { ProductStatus, Request } from "../api/types";

//: Products with all their pictures in one answer; well under the server's cost limit, and little for a browser to draw.
export const PAGE_SIZE = 24;

/** Which page of which products is looked at. */
export interface Place {
  status: ProductStatus | null;
  name: string;
  /** Where the page begins, or ends when it is `backward`; null for the start or the end of the list. */
  cursor: string | null;
  backward: boolean;
  /** How many products come before it. */
  from: number;
}

export const start: Place = { status: null, name: "", cursor: null, backward: false, from: 0 };

/** What the API is asked for. */
export function argumentsOf({ status, name, cursor, backward }: Place) {
  const filter = { status, nameContains: name.trim() || null };
  return backward ? { ...filter, last: PAGE_SIZE, before: cursor } : { ...filter, first: PAGE_SIZE, after: cursor };
}

/** The place as it stands in the address of the page; a reload comes back to it. */
export function toDetails({ status, name, cursor, backward, from }: Place): URLSearchParams {
  const details = new URLSearchParams();
  if (status) details.set("status", status);
  if (name) details.set("name", name);
  if (backward) details.set("before", cursor ?? "");
  else if (cursor) details.set("after", cursor);
  if (from) details.set("from", String(from));
  return details;
}

export function fromDetails(details: URLSearchParams): Place {
  const before = details.get("before");
  return {
    status: details.get("status") as ProductStatus | null,
    name: details.get("name") ?? "",
    cursor: (before ?? details.get("after")) || null,
    backward: before !== null,
    from: Number(details.get("from")) || 0,
  };
}

interface Shown {
  products: unknown[];
  first: string | null;
  last: string | null;
}

/** The pages around the one that is shown. */
export const next = (place: Place, { products, last }: Shown): Place => ({ ...place, cursor: last, backward: false, from: place.from + products.length });
export const previous = (place: Place, { first }: Shown): Place => ({ ...place, cursor: first, backward: true, from: Math.max(0, place.from - PAGE_SIZE) });
export const end = (place: Place, total: number): Place => ({ ...place, cursor: null, backward: true, from: Math.max(0, total - PAGE_SIZE) });

/** A number that changes whenever products of the request may have changed. */
export function tideOf(request: Request): string {
  return [request.status, request.processedProducts, request.failedProducts, request.processedImages, request.failedImages].join();
}
