import { useEffect, useRef, useState } from "preact/hooks";
import type { Image, Product } from "../api/types";
import { bytes, count, formatOf, gain, saved } from "../format";
import { ByteBar } from "../parts/byte-bar";
import { Dialog } from "../parts/dialog";
import { here } from "../route";
import { Comparison } from "./comparison";
import { useSource, type Source } from "./use-source";

/** A closer look: before and after, and what it saved. */
export function PictureDialog({ image, product, onClose }: { image: Image; product: Product; onClose: () => void }) {
  const kept = image.outcome === "KEPT";
  const source = useSource(image, !kept);
  const [undrawable, setUndrawable] = useState<string | null>(null);
  const [actual, setActual] = useState(false);
  const stage = useRef<HTMLDivElement>(null);
  useEffect(() => {
    // To the middle, where the edge is.
    const { scrollWidth, clientWidth, scrollHeight, clientHeight } = stage.current!;
    stage.current!.scrollTo((scrollWidth - clientWidth) / 2, (scrollHeight - clientHeight) / 2);
  }, [actual]);
  const { width, height } = image;
  const part = saved(image.inputBytes, image.outputBytes);
  const after = here(image.outputUrl!);
  const size = { width: width ?? undefined, height: height ?? undefined };
  const compared = source.at === "there" && !undrawable;
  const broken = (what: string) => () => setUndrawable(`This browser can’t draw the ${what}. Open it to look at it in another program.`);

  return (
    <Dialog label={product.productName} class="look" onClose={onClose}>
      <div class="line">
        <h2>
          <bdi>{product.productName}</bdi>
        </h2>
        <form method="dialog">
          <button class="small">Close</button>
        </form>
      </div>
      <div
        ref={stage}
        class={actual ? "stage actual" : "stage"}
        tabIndex={actual ? 0 : undefined}
        role={actual ? "region" : undefined}
        aria-label={actual ? "The picture in full size" : undefined}
      >
        {compared ? (
          <Comparison
            before={source}
            after={{ url: after, bytes: image.outputBytes }}
            name={product.productName}
            width={width}
            height={height}
            onBroken={broken("source")}
          />
        ) : (
          <img src={after} alt={`${product.productName}, as stored`} {...size} onError={broken("picture")} />
        )}
      </div>
      <p class="remark" role="status">
        {kept ? "Small already: compressing it again would not have helped, so it is stored as it came." : (undrawable ?? remarkOn(source, image))}
      </p>
      {image.inputBytes !== null && image.outputBytes !== null && <ByteBar before={image.inputBytes} after={image.outputBytes} />}
      <div class="line">
        <p class="facts">
          {part !== null && !kept && <b>{gain(part)}</b>}
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
          <a class="button small" href={after} target="_blank">
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

function remarkOn(source: Source, image: Image): string {
  switch (source.at) {
    case "loading":
      return "Fetching the source to compare …";
    case "gone":
      return `There is nothing to compare with: the source can’t be had any more. ${source.message}`;
    case "there":
      return source.bytes === image.inputBytes ? "Drag the edge, or move it with the arrow keys." : `The source has changed since: it has ${bytes(source.bytes)} now.`;
  }
}
