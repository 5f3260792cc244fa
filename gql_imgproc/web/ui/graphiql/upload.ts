import { uploadText } from "./samples";

/** Sends a file as the GraphQL multipart request specification says: operations, map, then the file. */
export async function upload(file: File, input: object): Promise<unknown> {
  const form = new FormData();
  form.append("operations", JSON.stringify({ query: uploadText, variables: { input: { ...input, file: null } } }));
  form.append("map", JSON.stringify({ 0: ["variables.input.file"] }));
  form.append("0", file);
  const response = await fetch("/graphql", {
    method: "POST",
    headers: { "GraphQL-Preflight": "1", Accept: "application/json" },
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
    `curl ${location.origin}/graphql`,
    "-H 'GraphQL-Preflight: 1'",
    `-F operations=${quoted(operations)}`,
    `-F map='{"0": ["variables.input.file"]}'`,
    `-F 0=@${quoted(name)}`,
  ].join(" \\\n  ");
}
