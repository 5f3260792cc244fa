import { useState } from "preact/hooks";
import type { Image, Product, ProductStatus, Request } from "../api/types";
import { count } from "../format";
import { Badge } from "../parts/badge";
import { Notice } from "../parts/notice";
import { PictureDialog } from "./picture-dialog";
import { PictureTile } from "./picture-tile";
import { productsOf } from "./product-pages";
import { useProducts } from "./use-products";

const filters: [ProductStatus | null, string][] = [
  [null, "All"],
  ["COMPLETED", "Done"],
  ["COMPLETED_WITH_ERRORS", "Some failed"],
  ["FAILED", "Failed"],
  ["PENDING", "Waiting"],
];

export function ProductList({ request }: { request: Request }) {
  const [status, setStatus] = useState<ProductStatus | null>(null);
  const [open, setOpen] = useState<{ image: Image; product: Product } | null>(null);
  const { pages, total, fault, busy, more, start } = useProducts(request, status);
  const products = pages && productsOf(pages);
  const filterName = filters.find(([value]) => value === status)![1];

  return (
    <section aria-labelledby="products-title">
      <div class="line products-head">
        <h2 id="products-title">
          Products {pages && <small>{count(total)}</small>}
        </h2>
        <fieldset class="segments">
          <legend class="unseen">Show products that are</legend>
          {filters.map(([value, name]) => (
            <label key={name}>
              <input type="radio" name="status" checked={status === value} onChange={() => setStatus(value)} />
              <span>{name}</span>
            </label>
          ))}
        </fieldset>
      </div>
      {fault && (
        <Notice tone="bad" title={fault} action={{ text: "Try again", run: start }}>
          {products ? "What is shown may be out of date." : "The products could not be loaded."}
        </Notice>
      )}
      {!products && !fault && (
        <div class="list" role="img" aria-label="Loading">
          <div class="card skeleton" />
          <div class="card skeleton" />
        </div>
      )}
      {products && !products.length && <Notice title={`No product under “${filterName}”`}>Choose another filter to see the others.</Notice>}
      <ul class="list products">
        {products?.map((product) => (
          <li key={product.id} class="card product">
            <div class="product-name">
              <h3>{product.productName}</h3>
              <p>No. {product.serialNumber}</p>
              <Badge status={product.status} />
            </div>
            <ul class="pictures">
              {product.images.map((image, index) => (
                <li key={image.id}>
                  <PictureTile image={image} name={`${product.productName}, picture ${index + 1}`} onOpen={() => setOpen({ image, product })} />
                </li>
              ))}
            </ul>
          </li>
        ))}
      </ul>
      {pages?.at(-1)?.more && (
        <button class="more" onClick={more} disabled={busy}>
          {busy ? "Loading …" : `Show more, ${count(total - products!.length)} to go`}
        </button>
      )}
      {open && <PictureDialog {...open} onClose={() => setOpen(null)} />}
    </section>
  );
}
