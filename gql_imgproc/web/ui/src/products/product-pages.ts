import type { Product, Request } from "../api/types";

export interface Page {
  after: string | null;
  products: Product[];
  end: string | null;
  more: boolean;
}

/** Products of all pages in order; a product that moved between two pages counts once, in its newest state. */
export function productsOf(pages: Page[]): Product[] {
  const found = new Map<string, Product>();
  for (const { products } of pages) for (const product of products) found.set(product.id, product);
  return [...found.values()];
}

/** Whether another look at the page may show something else; failed products count, since they can be retried. */
export function mayChange(page: Page, size: number): boolean {
  return page.products.length < size || page.products.some(({ status }) => status !== "COMPLETED");
}

/** A number that changes whenever products of the request may have changed. */
export function tideOf(request: Request): string {
  return [request.status, request.processedProducts, request.failedProducts, request.processedImages, request.failedImages].join();
}
