import { useEffect, useState } from "preact/hooks";

const prefix = "#/requests/";

export const home = "#/";
export const webhooks = "#/webhooks";
export const keys = "#/keys";
export const requestHref = (id: string): string => prefix + encodeURIComponent(id);

/** The request ID in the URL fragment, so that a reload opens the same request. */
export function parseRequestId(hash: string): string | null {
  const [path] = hash.split("?");
  if (!path!.startsWith(prefix)) return null;
  const id = path!.slice(prefix.length);
  try {
    return decodeURIComponent(id);
  } catch {
    // The URL was truncated inside an escaped character. No request has this ID, and the page says so.
    return id;
  }
}

/** The fragment of the URL, which names the page. */
export function useHash(): string {
  const [hash, setHash] = useState(location.hash);
  useEffect(() => {
    const change = () => setHash(location.hash);
    addEventListener("hashchange", change);
    return () => removeEventListener("hashchange", change);
  }, []);
  return hash;
}

/** The parameters in the URL fragment, after the request ID. */
export const hashParams = (hash: string): URLSearchParams => new URLSearchParams(hash.split("?")[1]);

/** Writes the parameters into the URL fragment without adding a history entry. */
export function replaceHashParams(params: URLSearchParams): void {
  const text = params.toString();
  history.replaceState(history.state, "", location.hash.split("?")[0] + (text && `?${text}`));
}

/** Turns an absolute URL from the API into one on the page's own host: the content security policy allows no other. */
export function toSameOrigin(url: string): string {
  // The query string may contain the URL's signature, so it stays.
  const { pathname, search } = new URL(url, location.href);
  const start = pathname.lastIndexOf("/api/");
  return start < 0 ? url : pathname.slice(start) + search;
}
