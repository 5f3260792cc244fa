import { uploadText } from "./samples";

export const PATH = "/graphql";

export interface Operation {
  query: string;
  variables?: { input?: { file?: null } } & Record<string, unknown>;
  operationName?: string | null;
}

export type Headers = Record<string, string>;

/** What stands in the editor of headers; none while that is no JSON, which GraphiQL shows. */
export function headersIn(text: string): Headers {
  try {
    return JSON.parse(text) as Headers;
  } catch {
    return {};
  }
}

export function authorizationIn(headers: Headers = {}): string | null {
  return Object.entries(headers).find(([name]) => name.toLowerCase() === "authorization")?.[1] ?? null;
}

/** The file of the panel, which is for the tab of the mutation too. */
export const chosen: { file: File | null } = { file: null };

export const operationFor = (input: object): Operation => ({
  query: uploadText,
  variables: { input: { ...input, file: null } },
});

/** Sends a file as the GraphQL multipart request specification says: operations, map, then the file. */
export async function upload(file: File, operation: Operation, headers?: Headers): Promise<unknown> {
  const form = new FormData();
  form.append("operations", JSON.stringify(operation));
  form.append("map", JSON.stringify({ 0: ["variables.input.file"] }));
  form.append("0", file);
  const response = await fetch(PATH, {
    method: "POST",
    headers: { ...headers, "GraphQL-Preflight": "1", Accept: "application/json" },
    body: form,
  });
  return response.json();
}

/** The same for a terminal. */
export function curlFor(name: string, input: object): string {
  const operations = JSON.stringify({
    query: "mutation($input: UploadCsvInput!) { uploadCsv(input: $input) { __typename ... on UploadCsvSuccess { request { id } } ... on UserError { message } } }",
    variables: { input: { ...input, file: null } },
  });
  // A single quote can't stand inside a single-quoted word of a shell.
  const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;
  return [
    `curl ${location.origin}${PATH}`,
    "-H 'GraphQL-Preflight: 1'",
    `-F operations=${quoted(operations)}`,
    `-F map='{"0": ["variables.input.file"]}'`,
    `-F 0=@${quoted(name)}`,
  ].join(" \\\n  ");
}
