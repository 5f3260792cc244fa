import { setByServer } from "./clock";
import { textOf, type Operation } from "./graphql";
import { Signal } from "./signal";

//: A page of products takes well under a second; past this the server is not coming back to us.
const QUERY_TIMEOUT_MS = 30_000;

/** The server could not be reached, or did not answer in GraphQL. */
export class Unreachable extends Error {
  constructor() {
    super("The server can’t be reached.");
  }
}

/** The `data` of an answer, or its first error raised. */
export function dataOf<Data>(answer: unknown): Data {
  const { data, errors } = (answer ?? {}) as { data?: Data; errors?: { message: string }[] };
  if (errors?.[0]) throw new Error(errors[0].message);
  if (!data) throw new Unreachable();
  return data;
}

/** Whether the last question was answered; told when that changes. */
export const reachable = new Signal(true);

export async function query<Data, Variables>(operation: Operation<Data, Variables>, variables: Variables): Promise<Data> {
  let answer: unknown;
  try {
    const response = await fetch("/graphql", {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json" },
      body: JSON.stringify({ query: textOf(operation), variables }),
      signal: AbortSignal.timeout(QUERY_TIMEOUT_MS),
    });
    setByServer(response.headers.get("date"));
    answer = await response.json();
    reachable.set(true);
  } catch {
    reachable.set(false);
    throw new Unreachable();
  }
  return dataOf<Data>(answer);
}
