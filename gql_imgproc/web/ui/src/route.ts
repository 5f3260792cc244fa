import { useEffect, useState } from "preact/hooks";

const prefix = "#/requests/";

export const home = "#/";
export const hrefOf = (id: string): string => prefix + encodeURIComponent(id);

/** The request named in the address, so that a reload comes back to it. */
function read(): string | null {
  return location.hash.startsWith(prefix) ? decodeURIComponent(location.hash.slice(prefix.length)) : null;
}

export function useRoute(): string | null {
  const [id, setId] = useState(read);
  useEffect(() => {
    const change = () => setId(read());
    addEventListener("hashchange", change);
    return () => removeEventListener("hashchange", change);
  }, []);
  return id;
}

/** The service tells absolute addresses; the page stays on the host it was opened under, as its policy demands. */
export function here(url: string): string {
  const path = new URL(url, location.href).pathname;
  const start = path.lastIndexOf("/api/");
  return start < 0 ? url : path.slice(start);
}
