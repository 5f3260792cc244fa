import { useState } from "preact/hooks";
import type { Operation } from "../api/graphql";
import { query } from "../api/query";
import type { Request } from "../api/types";
import { announce } from "../parts/announcer";
import { store } from "../progress/store";
import { home } from "../route";

type Change<Input> = Operation<
  { result: { __typename: string; request?: Request; deletedId?: string; message?: string } },
  { input: Input & { id: string } }
>;

/** Runs mutations of a request. `error` says why the last one was refused. */
export function useChange({ id }: Request) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string | null>(null);

  const change = async <Input extends object>(operation: Change<Input>, announcement: string, input = {} as Omit<Input, "id">) => {
    setBusy(true);
    setError(null);
    try {
      const { result } = await query(operation, { input: { ...input, id } as Input & { id: string } });
      if (result.message) setError(result.message);
      else announce(announcement);
      if (result.request) store.applySnapshot(result.request);
      if (result.deletedId) {
        // Only after navigation: otherwise this page would say that the request does not exist.
        addEventListener("hashchange", () => store.delete(id), { once: true });
        location.hash = home;
      }
    } catch (error) {
      setError((error as Error).message);
    }
    setBusy(false);
  };
  return { busy, error, change };
}
