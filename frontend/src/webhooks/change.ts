import type { Operation } from "../api/graphql";

/** Runs a mutation, and shows its error or the secret that it returns. Whether it succeeded. */
export type Change = <Input>(
  operation: Operation<{ result: { __typename: string; message?: string; secret?: string } }, { input: Input }>,
  input: Input,
  announcement: string,
) => Promise<boolean>;
