import { useEffect, useState } from "preact/hooks";
import { Changes as ChangesOf } from "../api/operation";
import { query } from "../api/query";
import type { Changes, Request } from "../api/types";
import { isFinal } from "../requests/status";
import { productsVersion } from "./list-state";

/** How a finished request differs from the one before with the same file name; null if there is none. */
export function useChanges(request: Request): Changes | null {
  const [changes, setChanges] = useState<Changes | null>(null);
  const version = isFinal(request) && productsVersion(request);
  useEffect(() => {
    setChanges(null);
    // The page reports a lost connection elsewhere, so an error is ignored here.
    if (version)
      query(ChangesOf, { id: request.id }).then(
        ({ request }) => setChanges(request?.changes ?? null),
        () => {},
      );
  }, [request.id, version]);
  return changes;
}
