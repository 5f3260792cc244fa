import { useEffect, useRef, useState } from "preact/hooks";
import type { Image, Product, Request } from "../api/types";
import { count, plural } from "../format";
import { announce } from "../parts/announcer";
import { Notice } from "../parts/notice";
import { detailsOf, keepDetails } from "../route";
import { Filters } from "./filters";
import { Pager } from "./pager";
import { PictureDialog } from "./picture-dialog";
import { fromDetails, start, toDetails, type Place } from "./place";
import { ProductCard } from "./product-card";
import { useProducts, type Page } from "./use-products";

/** The products of a request, a page at a time: a file of a hundred thousand costs a browser no more than one of twenty. */
export function ProductList({ request }: { request: Request }) {
  const [place, setPlace] = useState<Place>(() => fromDetails(detailsOf(location.hash)));
  const [open, setOpen] = useState<{ image: Image; product: Product } | null>(null);
  const { page, total, fault, load, busy } = useProducts(request, place);
  const heading = useRef<HTMLHeadingElement>(null);

  useEffect(() => keepDetails(toDetails(place)), [place]);

  const turn = (next: Place) => {
    setPlace(next);
    heading.current!.focus({ preventScroll: true });
    heading.current!.scrollIntoView({ block: "start" });
  };
  useAnnounced(page, total);

  return (
    <section aria-labelledby="products-title" aria-busy={busy}>
      <div class="line products-head">
        <h2 id="products-title" ref={heading} tabIndex={-1}>
          Products {page && <small>{count(total)}</small>}
        </h2>
        <Filters request={request} place={place} onChange={(change) => setPlace(({ status, name }) => ({ ...start, status, name, ...change }))} />
      </div>
      {fault && (
        <Notice tone="bad" title={fault} action={{ text: "Try again", run: () => void load() }}>
          {page ? "What is shown is not what was asked for." : "The products could not be loaded."}
        </Notice>
      )}
      {!page && !fault && (
        <div class="list products" role="img" aria-label="Loading">
          {[1, 2, 3, 4].map((key) => (
            <div key={key} class="card skeleton" />
          ))}
        </div>
      )}
      {page && !page.products.length && (
        <Notice title="No product like that" action={{ text: "Show all products", run: () => setPlace(start) }}>
          {page.place.name ? `No name here contains “${page.place.name.trim()}”.` : "None has this status at the moment."}
        </Notice>
      )}
      <ul class="list products">
        {page?.products.map((product) => (
          <ProductCard key={product.id} product={product} onOpen={(image) => setOpen({ image, product })} />
        ))}
      </ul>
      {page && <Pager page={page} total={total} onTurn={turn} />}
      {open && <PictureDialog {...open} onClose={() => setOpen(null)} />}
    </section>
  );
}

/** Says what another filter or search gave; those who see it need no word. */
function useAnnounced(page: Page | null, total: number): void {
  const place = useRef(page?.place);
  useEffect(() => {
    if (!page || place.current === page.place) return;
    if (place.current) announce(`${plural(total, "product")}.`);
    place.current = page.place;
  }, [page]);
}
