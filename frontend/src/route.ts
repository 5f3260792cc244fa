import { useEffect, useState } from "preact/hooks";

const prefix = "#/requests/";

export const home = "#/";
export const hrefOf = (id: string): string => prefix + encodeURIComponent(id);

/** The request named in the address, so that a reload comes back to it. */
export function idOf(hash: string): string | null {
  const [path] = hash.split("?");
  if (!path!.startsWith(prefix)) return null;
  const id = path!.slice(prefix.length);
  try {
    return decodeURIComponent(id);
  } catch {
    // Cut off in the middle of a character; there is no such request, and the page says so.
    return id;
  }
}

const read = (): string | null => idOf(location.hash);

export function useRoute(): string | null {
  const [id, setId] = useState(read);
  useEffect(() => {
    const change = () => setId(read());
    addEventListener("hashchange", change);
    return () => removeEventListener("hashchange", change);
  }, []);
  return id;
}

/** What stands in the address beside the request. */
export const detailsOf = (hash: string): URLSearchParams => new URLSearchParams(hash.split("?")[1]);

/** Writes it there without a step in the history. */
export function keepDetails(details: URLSearchParams): void {
  const text = details.toString();
  history.replaceState(history.state, "", location.hash.split("?")[0] + (text && `?${text}`));
}

/** The service tells absolute addresses; the page stays on the host it was opened under, as its policy demands. */
export function here(url: string): string {
  // What stands behind the path may be the signature that opens it.
  const { pathname, search } = new URL(url, location.href);
  const start = pathname.lastIndexOf("/api/");
  return start < 0 ? url : pathname.slice(start) + search;
}
