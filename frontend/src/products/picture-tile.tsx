import { useState } from "preact/hooks";
import type { Image } from "../api/types";
import { bytes, formatOf, percent, saved } from "../format";
import { here } from "../route";

/** One picture of a product: its thumbnail and figures, or why there is none. */
export function PictureTile({ image, name, onOpen }: { image: Image; name: string; onOpen: () => void }) {
  if (image.error || image.status === "FAILED")
    return (
      <div class="picture failed">
        <div class="frame" aria-hidden="true">
          !
        </div>
        <div>
          <p>{image.error?.message ?? "Failed."}</p>
          <a href={image.inputUrl} target="_blank" rel="noreferrer" aria-label={`Open its address: ${name}`}>
            Open its address
          </a>
        </div>
      </div>
    );
  if (!image.outputUrl)
    return (
      <div class="picture waiting">
        <div class="frame" />
        <p>{image.status === "CANCELLED" ? "Cancelled" : "Waiting"}</p>
      </div>
    );
  const part = saved(image.inputBytes, image.outputBytes);
  return (
    <div class="picture">
      <button class="frame" onClick={onOpen}>
        <Thumbnail image={image} name={`${name}: look closer`} />
      </button>
      <p>
        {image.outcome === "KEPT" ? "Small already," : part !== null && <b class={part < 0 ? "larger" : ""}>{part < 0 ? `+${percent(-part)}` : `−${percent(part)}`}</b>}
        {image.outputBytes !== null && <> {bytes(image.outputBytes)}</>}
      </p>
    </div>
  );
}

function Thumbnail({ image, name }: { image: Image; name: string }) {
  const [broken, setBroken] = useState<string | null>(null);
  // No browser draws TIFF, and a picture may be gone; a signed address may only have got too old.
  if (broken === image.outputUrl)
    return (
      <span>
        {formatOf(image)} <span class="unseen">{name}</span>
      </span>
    );
  return (
    <img
      src={here(image.outputUrl!)}
      alt={name}
      width="112"
      height="112"
      loading="lazy"
      decoding="async"
      onError={() => setBroken(image.outputUrl)}
    />
  );
}
