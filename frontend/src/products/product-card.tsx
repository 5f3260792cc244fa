import { useState } from "preact/hooks";
import type { Image, Product } from "../api/types";
import { count, plural } from "../format";
import { Badge } from "../parts/badge";
import { PictureTile } from "./picture-tile";

//: Two rows of a card; a product of a hundred pictures is not to push all others out of sight.
const FOLDED = 6;

/** One product with its pictures: the first few, and all on demand. */
export function ProductCard({ product, onOpen }: { product: Product; onOpen: (image: Image) => void }) {
  const { productName, serialNumber, status, images } = product;
  const [unfolded, setUnfolded] = useState(false);
  const folds = images.length > FOLDED;
  const shown = folds && !unfolded ? images.slice(0, FOLDED) : images;
  const failedBehind = images.slice(shown.length).filter((image) => image.status === "FAILED").length;
  return (
    <li class={folds && unfolded ? "card product unfolded" : "card product"}>
      <div class="line">
        <h3>
          <bdi>{productName}</bdi> <small>No. {serialNumber}</small>
        </h3>
        <Badge status={status} />
      </div>
      <ul class="pictures">
        {shown.map((image, index) => (
          <li key={image.id}>
            <PictureTile image={image} name={`${productName}, picture ${index + 1}`} onOpen={() => onOpen(image)} />
          </li>
        ))}
      </ul>
      {folds && (
        <button class="small" aria-expanded={unfolded} aria-label={`All pictures of ${productName}`} onClick={() => setUnfolded(!unfolded)}>
          {unfolded ? "Show fewer" : `Show all ${plural(images.length, "picture")}`}
          {failedBehind > 0 && `, ${count(failedBehind)} more failed`}
        </button>
      )}
    </li>
  );
}
