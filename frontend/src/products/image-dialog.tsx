import { useEffect, useRef, useState } from "preact/hooks";
import type { Image } from "../api/types";
import { formatBytes, formatCount, formatName, formatRate, formatSaving, isKept, savedShare } from "../format";
import { ByteBar } from "../parts/byte-bar";
import { Dialog } from "../parts/dialog";
import { toSameOrigin } from "../route";
import { Comparison } from "./comparison";
import { useSource, type Source } from "./use-source";

/** Compares an image before and after, and shows what it saved. */
export function ImageDialog({ image, name, onClose }: { image: Image; name: string; onClose: () => void }) {
  const isSame = isKept(image);
  const source = useSource(image, { enabled: !isSame });
  const [displayError, setDisplayError] = useState<string | null>(null);
  const [isFullSize, setFullSize] = useState(false);
  const stage = useRef<HTMLDivElement>(null);
  useEffect(() => {
    // Scroll to the middle, where the edge is.
    const { scrollWidth, clientWidth, scrollHeight, clientHeight } = stage.current!;
    stage.current!.scrollTo((scrollWidth - clientWidth) / 2, (scrollHeight - clientHeight) / 2);
  }, [isFullSize]);
  const { width, height } = image;
  const part = savedShare(image.inputBytes, image.outputBytes);
  const after = toSameOrigin(image.outputUrl!);
  const size = { width: width ?? undefined, height: height ?? undefined };
  const isCompared = source.status === "loaded" && !displayError;
  const onBroken = (what: string) => () => setDisplayError(`This browser cannot display the ${what}. Open it to view it in another program.`);

  return (
    <Dialog label={name} class="image-dialog" onClose={onClose}>
      <div class="line">
        <h2>
          <bdi>{name}</bdi>
        </h2>
        <form method="dialog">
          <button class="small">Close</button>
        </form>
      </div>
      <div
        ref={stage}
        class={isFullSize ? "stage actual" : "stage"}
        tabIndex={isFullSize ? 0 : undefined}
        role={isFullSize ? "region" : undefined}
        aria-label={isFullSize ? "The image in full size" : undefined}
      >
        {isCompared ? (
          <Comparison
            before={source}
            after={{ url: after, bytes: image.outputBytes }}
            name={name}
            width={width}
            height={height}
            onBroken={onBroken("original")}
          />
        ) : (
          <img src={after} alt={`${name}, compressed`} {...size} onError={onBroken("image")} />
        )}
      </div>
      <p class="remark" role="status">
        {isSame ? "Already small: compression would not have made this image smaller, so it is stored unchanged." : (displayError ?? sourceMessage(source, image))}
      </p>
      {image.inputBytes !== null && image.outputBytes !== null && <ByteBar before={image.inputBytes} after={image.outputBytes} />}
      <div class="line">
        <p class="facts">
          {part !== null && !isSame && <b>{formatSaving(part)}</b>}
          {width && height && (
            <span>
              {formatCount(width)} × {formatCount(height)} pixels
            </span>
          )}
          {image.format && <span>{formatName(image)}</span>}
          {image.similarity !== null && <span>similarity {formatRate(image.similarity)} of 100</span>}
        </p>
        <div class="actions">
          <button class="small" aria-pressed={isFullSize} onClick={() => setFullSize(!isFullSize)}>
            Full size
          </button>
          <a class="button small" href={after} target="_blank">
            Open compressed image
          </a>
          <a class="button small" href={image.inputUrl} target="_blank" rel="noreferrer">
            Open original image
          </a>
        </div>
      </div>
    </Dialog>
  );
}

function sourceMessage(source: Source, image: Image): string {
  switch (source.status) {
    case "loading":
      return "Loading the original image …";
    case "unavailable":
      return `The original image is not available for comparison. ${source.message}`;
    case "loaded":
      return source.bytes === image.inputBytes ? "Drag the edge, or use the arrow keys." : `The original image has changed since: it now has ${formatBytes(source.bytes)}.`;
  }
}
