import type { Image, Product } from "../api/types";
import { Badge } from "../parts/badge";
import { PictureTile } from "./picture-tile";

/** One product with all its pictures. */
export function ProductCard({ product, onOpen }: { product: Product; onOpen: (image: Image) => void }) {
  const { productName, serialNumber, status, images } = product;
  return (
    <li class="card product">
      <div class="line">
        <h3>
          {productName} <small>No. {serialNumber}</small>
        </h3>
        <Badge status={status} />
      </div>
      <ul class="pictures">
        {images.map((image, index) => (
          <li key={image.id}>
            <PictureTile image={image} name={`${productName}, picture ${index + 1}`} onOpen={() => onOpen(image)} />
          </li>
        ))}
      </ul>
    </li>
  );
}
