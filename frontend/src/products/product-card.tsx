import { useState } from "preact/hooks";
import type { Image, Product } from "../api/types";
import { formatCount, pluralize } from "../format";
import { Badge } from "../parts/badge";
import { ImageTile } from "./image-tile";

//: Two rows of a card, so that a product with a hundred images does not fill the page.
const MAX_COLLAPSED = 6;

/** One product with its first images, and all of them on demand. */
export function ProductCard({ product, onOpen }: { product: Product; onOpen: (image: Image) => void }) {
  const { productName, serialNumber, status, images } = product;
  const [isExpanded, setExpanded] = useState(false);
  const isCollapsible = images.length > MAX_COLLAPSED;
  const visibleImages = isCollapsible && !isExpanded ? images.slice(0, MAX_COLLAPSED) : images;
  const hiddenFailures = images.slice(visibleImages.length).filter((image) => image.status === "FAILED").length;
  return (
    <li class={isCollapsible && isExpanded ? "card product expanded" : "card product"}>
      <div class="line">
        <h3>
          <bdi>{productName}</bdi> <small>No. {serialNumber}</small>
        </h3>
        <Badge status={status} />
      </div>
      <ul class="images">
        {visibleImages.map((image, index) => (
          <li key={image.id}>
            <ImageTile image={image} name={`${productName}, image ${index + 1}`} onOpen={() => onOpen(image)} />
          </li>
        ))}
      </ul>
      {isCollapsible && (
        <button class="small" aria-expanded={isExpanded} aria-label={`All images of ${productName}`} onClick={() => setExpanded(!isExpanded)}>
          {isExpanded ? "Show fewer" : `Show all ${pluralize(images.length, "image")}`}
          {hiddenFailures > 0 && `, ${formatCount(hiddenFailures)} more failed`}
        </button>
      )}
    </li>
  );
}
