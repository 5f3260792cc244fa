import { uploadText } from "./samples";

export const PATH = "/graphql";

export interface Operation {
  query: string;
  variables?: { input?: { file?: null } } & Record<string, unknown>;
  operationName?: string | null;
}

export type Headers = Record<string, string>;

/** Parses the header editor. Invalid JSON counts as no headers; GraphiQL marks it. */
export function parseHeaders(text: string): Headers {
  try {
    return JSON.parse(text) as Headers;
  } catch {
    return {};
  }
}

export function authorizationIn(headers: Headers = {}): string | null {
  return Object.entries(headers).find(([name]) => name.toLowerCase() === "authorization")?.[1] ?? null;
}

/** The file chosen in the panel; the tab of the mutation uses it too. */
export const selection: { file: File | null } = { file: null };

export const uploadOperation = (input: object): Operation => ({
  query: uploadText,
  variables: { input: { ...input, file: null } },
});

/** Sends a file as a GraphQL multipart request: operations, map, then the file. */
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

/** The same upload as a curl command. */
export function curlCommand(name: string, input: object): string {
  const operations = JSON.stringify({
    query: "mutation($input: UploadCsvInput!) { uploadCsv(input: $input) { __typename ... on UploadCsvSuccess { request { id } } ... on UserError { message } } }",
    variables: { input: { ...input, file: null } },
  });
  // Shells do not allow a single quote inside a single-quoted word.
  const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;
  return [
    `curl ${location.origin}${PATH}`,
    "-H 'GraphQL-Preflight: 1'",
    `-F operations=${quoted(operations)}`,
    `-F map='{"0": ["variables.input.file"]}'`,
    `-F 0=@${quoted(name)}`,
  ].join(" \\\n  ");
}
