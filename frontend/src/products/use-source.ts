import { useEffect, useRef, useState } from "preact/hooks";
import type { Image } from "../api/types";
import { here } from "../route";

export type Source = { at: "loading" } | { at: "there"; url: string; bytes: number } | { at: "gone"; message: string };

/** The source of a picture, fetched by the service: the page asks no other host for anything. */
export function useSource({ id, sourceUrl }: Image, wanted: boolean): Source {
  const [source, setSource] = useState<Source>({ at: "loading" });
  const latest = useRef(sourceUrl);
  latest.current = sourceUrl;
  useEffect(() => {
    if (!wanted || !latest.current) return;
    const url = here(latest.current);
    const abort = new AbortController();
    read(url, abort.signal)
      .then(setSource)
      .catch(() => abort.signal.aborted || setSource({ at: "gone", message: "The server can’t be reached." }));
    return () => abort.abort();
    // Not by its address: that is signed anew each hour, and the picture stays the same.
  }, [id, wanted]);
  return source;
}

/** Read here first, for the sentence when it is gone; the `img` then finds it in the browser's cache. */
async function read(url: string, signal: AbortSignal): Promise<Source> {
  const response = await fetch(url, { signal });
  if (response.ok) return { at: "there", url, bytes: (await response.blob()).size };
  const { error } = (await response.json()) as { error: string };
  return { at: "gone", message: error };
}
