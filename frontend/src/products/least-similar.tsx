import { useState } from "preact/hooks";
import { LeastSimilar as LeastSimilarOf } from "../api/operation";
import { query } from "../api/query";
import type { Image, Request } from "../api/types";
import { Notice } from "../parts/notice";
import { ImageDialog } from "./image-dialog";
import { ImageTile } from "./image-tile";

const PAGE_SIZE = 20;

/** The images that look least like their sources. They are loaded when the list is opened. */
export function LeastSimilar({ request }: { request: Request }) {
  const [images, setImages] = useState<Image[] | null>(null);
  const [after, setAfter] = useState<string | null>(null);
  const [error, setError] = useState<string | null>(null);
  const [open, setOpen] = useState<Image | null>(null);

  const load = async (from: string | null) => {
    setError(null);
    try {
      const found = (await query(LeastSimilarOf, { id: request.id, first: PAGE_SIZE, after: from })).request?.imagesBySimilarity;
      if (!found) return;
      setImages((old) => [...(from && old ? old : []), ...found.nodes]);
      setAfter(found.pageInfo.hasNextPage ? found.pageInfo.endCursor : null);
    } catch (error) {
      setError((error as Error).message);
    }
  };

  return (
    <details class="least-similar" onToggle={(event) => event.currentTarget.open && !images && void load(null)}>
      <summary>The {PAGE_SIZE} least similar images</summary>
      {error && <Notice tone="bad" title={error} action={{ text: "Try again", run: () => void load(after) }} />}
      {images?.length === 0 && <p class="remark">These images were stored by an earlier version, which did not compare them.</p>}
      <ul class="images">
        {images?.map((image) => (
          <li key={image.id}>
            <ImageTile image={image} name={fileName(image)} onOpen={() => setOpen(image)} />
          </li>
        ))}
      </ul>
      {after && (
        <button class="small" onClick={() => load(after)}>
          Show {PAGE_SIZE} more
        </button>
      )}
      {open && <ImageDialog image={open} name={fileName(open)} onClose={() => setOpen(null)} />}
    </details>
  );
}

/** The last part of the source's URL. */
const fileName = ({ inputUrl }: Image): string => new URL(inputUrl).pathname.split("/").pop() || inputUrl;
