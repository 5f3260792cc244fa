import { useEffect, useRef, useState } from "preact/hooks";
import type { Image } from "../api/types";
import { toSameOrigin } from "../route";

export type Source = { status: "loading" } | { status: "loaded"; url: string; bytes: number } | { status: "unavailable"; message: string };

/** The original image, downloaded through the service: the page connects to no other host. */
export function useSource({ id, sourceUrl }: Image, { enabled }: { enabled: boolean }): Source {
  const [source, setSource] = useState<Source>({ status: "loading" });
  const latest = useRef(sourceUrl);
  latest.current = sourceUrl;
  useEffect(() => {
    if (!enabled || !latest.current) return;
    const url = toSameOrigin(latest.current);
    const abort = new AbortController();
    read(url, abort.signal)
      .then(setSource)
      .catch(() => abort.signal.aborted || setSource({ status: "unavailable", message: "The server can’t be reached." }));
    return () => abort.abort();
    // Without the URL: its signature changes every hour, but the image does not.
  }, [id, enabled]);
  return source;
}

/** Fetches the source first, to show the error message if it fails. The `img` then loads it from the browser cache. */
async function read(url: string, signal: AbortSignal): Promise<Source> {
  const response = await fetch(url, { signal });
  if (response.ok) return { status: "loaded", url, bytes: (await response.blob()).size };
  const { error } = (await response.json()) as { error: string };
  return { status: "unavailable", message: error };
}
