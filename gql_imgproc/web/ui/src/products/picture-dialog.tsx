import { useState } from "preact/hooks";
import type { Image, Product } from "../api/types";
import { count, formatOf, percent, saved } from "../format";
import { ByteBar } from "../parts/byte-bar";
import { Dialog } from "../parts/dialog";
import { here } from "../route";

/** A closer look. The source is only linked: the page asks no other host for anything. */
export function PictureDialog({ image, product, onClose }: { image: Image; product: Product; onClose: () => void }) {
  const [actual, setActual] = useState(false);
  const { width, height } = image;
  const part = saved(image.inputBytes, image.outputBytes);
  return (
    <Dialog label={product.productName} class="look" onClose={onClose}>
      <div class="line">
        <h2>{product.productName}</h2>
        <form method="dialog">
          <button class="small">Close</button>
        </form>
      </div>
      <div class={actual ? "stage actual" : "stage"} tabIndex={actual ? 0 : undefined} role={actual ? "region" : undefined} aria-label={actual ? "The picture in full size" : undefined}>
        <img src={here(image.outputUrl!)} alt={`${product.productName}, as stored`} width={width ?? undefined} height={height ?? undefined} />
      </div>
      {image.outcome === "KEPT" && <p>Compressing would not have helped, so the original bytes are stored.</p>}
      {image.inputBytes !== null && image.outputBytes !== null && <ByteBar before={image.inputBytes} after={image.outputBytes} />}
      <div class="line">
        <p class="facts">
          {part !== null && part > 0 && <b>{percent(part)} smaller</b>}
          {width && height && (
            <span>
              {count(width)} × {count(height)} pixels
            </span>
          )}
          {image.format && <span>{formatOf(image)}</span>}
        </p>
        <div class="actions">
          <button class="small" aria-pressed={actual} onClick={() => setActual(!actual)}>
            Full size
          </button>
          <a class="button small" href={here(image.outputUrl!)} target="_blank">
            Open stored picture
          </a>
          <a class="button small" href={image.inputUrl} target="_blank" rel="noreferrer">
            Open source picture
          </a>
        </div>
      </div>
    </Dialog>
  );
}
