import { useEffect, useRef, useState } from "preact/hooks";
import type { Image, Request } from "../api/types";
import { formatCount, pluralize } from "../format";
import { announce } from "../parts/announcer";
import { Notice } from "../parts/notice";
import { hashParams, replaceHashParams } from "../route";
import { Filters } from "./filters";
import { Pager } from "./pager";
import { ImageDialog } from "./image-dialog";
import { fromHashParams, start, toHashParams, type ListState } from "./list-state";
import { ProductCard } from "./product-card";
import { useChanges } from "./use-changes";
import { useProducts, type Page } from "./use-products";

/** The products of a request, one page at a time, so that a large file costs the browser no more than a small one. */
export function ProductList({ request }: { request: Request }) {
  const [state, setState] = useState<ListState>(() => fromHashParams(hashParams(location.hash)));
  const [open, setOpen] = useState<{ image: Image; name: string } | null>(null);
  const { page, total: listed, error, load, busy } = useProducts(request, state);
  const changes = useChanges(request);
  const change = page?.state.change;
  const total = change && changes ? changes.productCounts[change.toLowerCase() as Lowercase<typeof change>] : listed;
  const heading = useRef<HTMLHeadingElement>(null);

  useEffect(() => replaceHashParams(toHashParams(state)), [state]);

  const openPage = (next: ListState) => {
    setState(next);
    heading.current!.focus({ preventScroll: true });
    heading.current!.scrollIntoView({ block: "start" });
  };
  useResultAnnouncement(page, total);

  return (
    <section aria-labelledby="products-title" aria-busy={busy}>
      <div class="line products-head">
        <h2 id="products-title" ref={heading} tabIndex={-1}>
          Products {page && <small>{formatCount(total)}</small>}
        </h2>
        <Filters
          request={request}
          state={state}
          changes={changes}
          onChange={(patch) => setState(({ status, change, name }) => ({ ...start, status, change, name, ...patch }))}
        />
      </div>
      {error && (
        <Notice tone="bad" title={error} action={{ text: "Try again", run: () => void load() }}>
          {page ? "The list does not match your filters." : "The products could not be loaded."}
        </Notice>
      )}
      {!page && !error && (
        <div class="list products" role="img" aria-label="Loading">
          {[1, 2, 3, 4].map((key) => (
            <div key={key} class="card skeleton" />
          ))}
        </div>
      )}
      {page && !page.products.length && (
        <Notice title="No matching products" action={{ text: "Show all products", run: () => setState(start) }}>
          {page.state.name ? `No product name contains “${page.state.name.trim()}”.` : "No product has this status at the moment."}
        </Notice>
      )}
      <ul class="list products">
        {page?.products.map((product) => (
          <ProductCard key={product.id} product={product} onOpen={(image) => setOpen({ image, name: product.productName })} />
        ))}
      </ul>
      {page && <Pager page={page} total={total} onTurn={openPage} />}
      {open && <ImageDialog {...open} onClose={() => setOpen(null)} />}
    </section>
  );
}

/** Announces the number of results of a new filter to screen readers. */
function useResultAnnouncement(page: Page | null, total: number): void {
  const state = useRef(page?.state);
  useEffect(() => {
    if (!page || state.current === page.state) return;
    if (state.current) announce(`${pluralize(total, "product")}.`);
    state.current = page.state;
  }, [page]);
}
