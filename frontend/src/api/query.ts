import { setByServer } from "./clock";
import { textOf, type Operation } from "./graphql";
import { bearer, credentials, UNAUTHENTICATED } from "./key";
import { Signal } from "./signal";

//: A page of products takes well under a second; past this the server is not coming back to us.
const QUERY_TIMEOUT_MS = 30_000;

/** The server could not be reached, or did not answer in GraphQL. */
export class Unreachable extends Error {
  constructor() {
    super("The server can’t be reached.");
  }
}

interface Answer<Data> {
  data?: Data;
  errors?: { message: string; extensions?: { code?: string } }[];
}

/** The `data` of an answer to who presented that key, or its first error raised. */
export function dataOf<Data>(answer: unknown, presented: string | null): Data {
  const { data, errors } = (answer ?? {}) as Answer<Data>;
  if (errors?.[0]) {
    const { message, extensions } = errors[0];
    if (extensions?.code === UNAUTHENTICATED) credentials.refuse(presented, message);
    throw new Error(message);
  }
  if (!data) throw new Unreachable();
  return data;
}

/** Whether the last question was answered; told when that changes. */
export const reachable = new Signal(true);

export async function query<Data, Variables>(operation: Operation<Data, Variables>, variables: Variables): Promise<Data> {
  const key = credentials.key.value;
  let answer: unknown;
  try {
    const response = await fetch("/graphql", {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json", ...bearer(key) },
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
  return dataOf<Data>(answer, key);
}
