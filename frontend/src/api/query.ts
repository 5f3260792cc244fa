import { setByServer } from "./clock";
import { operationText, type Operation } from "./graphql";
import { authorizationHeader, credentials, UNAUTHENTICATED } from "./key";
import { Signal } from "./signal";

//: A page of products takes well under a second; after this the server counts as unreachable.
const QUERY_TIMEOUT_MS = 30_000;

/** The server could not be reached, or its response was not GraphQL. */
export class Unreachable extends Error {
  constructor() {
    super("The server can’t be reached.");
  }
}

interface Answer<Data> {
  data?: Data;
  errors?: { message: string; extensions?: { code?: string } }[];
}

/** Returns the `data` of a response, or throws its first error. `presented` is the key that was sent. */
export function unwrapData<Data>(answer: unknown, presented: string | null): Data {
  const { data, errors } = (answer ?? {}) as Answer<Data>;
  if (errors?.[0]) {
    const { message, extensions } = errors[0];
    if (extensions?.code === UNAUTHENTICATED) credentials.reject(presented, message);
    throw new Error(message);
  }
  if (!data) throw new Unreachable();
  return data;
}

/** Whether the last query was answered. */
export const reachable = new Signal(true);

export async function query<Data, Variables>(operation: Operation<Data, Variables>, variables: Variables): Promise<Data> {
  const key = credentials.key.value;
  let answer: unknown;
  try {
    const response = await fetch("/graphql", {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json", ...authorizationHeader(key) },
      body: JSON.stringify({ query: operationText(operation), variables }),
      signal: AbortSignal.timeout(QUERY_TIMEOUT_MS),
    });
    setByServer(response.headers.get("date"));
    answer = await response.json();
    reachable.set(true);
  } catch {
    reachable.set(false);
    throw new Unreachable();
  }
  return unwrapData<Data>(answer, key);
}
