import { useState } from "preact/hooks";
import type { Operation } from "../api/graphql";
import { query } from "../api/query";
import { announce } from "./announcer";

/** Runs a mutation, and shows its error or the secret that it returns. Whether it succeeded. */
export type Change = <Input>(
  operation: Operation<{ result: { __typename: string; message?: string; secret?: string } }, { input: Input }>,
  input: Input,
  announcement: string,
) => Promise<boolean>;

/** Mutations that may return a secret, which is shown once. `load` reads the list again after each. */
export function useSecret(load: () => Promise<void>) {
  const [error, setError] = useState<string | null>(null);
  const [secret, setSecret] = useState<string | null>(null);

  const change: Change = async (operation, input, announcement) => {
    setError(null);
    setSecret(null);
    try {
      const { result } = await query(operation, { input });
      if (result.message) setError(result.message);
      else announce(announcement);
      if (result.secret) setSecret(result.secret);
      await load();
      return !result.message;
    } catch (error) {
      setError((error as Error).message);
      return false;
    }
  };
  return { error, setError, secret, setSecret, change };
}
