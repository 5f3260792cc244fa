import { useState } from "preact/hooks";
import type { Image } from "../api/types";
import { formatBytes, formatCount, formatName, formatPercent, isKept, savedShare } from "../format";
import { toSameOrigin } from "../route";

/** One image of a product: thumbnail and size, or the error. */
export function ImageTile({ image, name, onOpen }: { image: Image; name: string; onOpen: () => void }) {
  if (image.error || image.status === "FAILED")
    return (
      <div class="image failed">
        <div class="frame" aria-hidden="true">
          !
        </div>
        <div>
          <p>{image.error?.message ?? "Failed."}</p>
          <a href={image.inputUrl} target="_blank" rel="noreferrer" aria-label={`Open the URL: ${name}`}>
            Open the URL
          </a>
        </div>
      </div>
    );
  if (!image.outputUrl)
    return (
      <div class="image waiting">
        <div class="frame" />
        <p>{image.status === "CANCELLED" ? "Cancelled" : "Waiting"}</p>
      </div>
    );
  const part = savedShare(image.inputBytes, image.outputBytes);
  return (
    <div class="image">
      <button class="frame" onClick={onOpen}>
        <Thumbnail image={image} name={`${name}: compare`} />
      </button>
      <p>
        {isKept(image) ? "Already small," : part !== null && <b class={part < 0 ? "larger" : ""}>{part < 0 ? `+${formatPercent(-part)}` : `−${formatPercent(part)}`}</b>}
        {image.outputBytes !== null && <> {formatBytes(image.outputBytes)}</>}
        {image.similarity !== null && !isKept(image) && <span class="similarity"> similarity {formatCount(Math.floor(image.similarity))}</span>}
      </p>
      {image.outputs.length > 1 && (
        <ul class="outputs" aria-label={`${name}: further outputs`}>
          {image.outputs.slice(1).map((output) => (
            <li key={output.name}>
              <a href={toSameOrigin(output.url)} target="_blank">
                {output.name}
              </a>{" "}
              {formatBytes(output.outputBytes)}
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}

function Thumbnail({ image, name }: { image: Image; name: string }) {
  const [broken, setBroken] = useState<string | null>(null);
  // Browsers cannot display TIFF, and the image may be deleted. A new signed URL is tried again.
  if (broken === image.outputUrl)
    return (
      <span>
        {formatName(image)} <span class="visually-hidden">{name}</span>
      </span>
    );
  return (
    <img
      src={toSameOrigin(image.outputUrl!)}
      alt={name}
      width="112"
      height="112"
      loading="lazy"
      decoding="async"
      onError={() => setBroken(image.outputUrl)}
    />
  );
}
