// Runs one scenario with one client: a query, an invalid query, a mutation with a typed error, an upload, and its
// progress from the first event to the end. Prints what the client received.
//
// The default export of a client's file makes a client from the URL of `/graphql`. It may have
// `execute(document, variables, name)`, which returns `data` and `errors`; `subscribe(document, variables, name, next)`,
// which resolves at the end of the subscription; and `upload`, whether it can upload files.
import { readFileSync } from "node:fs";
import { basename } from "node:path";

const [name, url, csv, releaseUrl] = process.argv.slice(2);
const documents = JSON.parse(readFileSync(new URL("documents.json", import.meta.url), "utf8"));
const { default: createClient } = await import(`./clients/${name}.mjs`);
const client = await createClient(url);
const received = { progress: [] };

const codes = (response) => response.errors?.map((error) => error.extensions.code);

if (client.execute) {
  received.query = (await client.execute(documents.query, {}, "Limits")).data;
  received.invalid = codes(await client.execute(documents.invalid, {}, "Invalid"));
  received.typedError = (await client.execute(documents.typedError, { input: { id: "nonsense" } }, "Cancel")).data;
}

const file = new File([readFileSync(csv)], basename(csv), { type: "text/csv" });
const uploaded = client.upload ? await client.execute(documents.upload, { input: { file } }, "Upload") : await post();
received.upload = uploaded.data.uploadCsv;
const { id } = received.upload.request;

if (client.subscribe) {
  received.unknownRequest = [];
  await client.subscribe(documents.progress, { id: "nonsense" }, "Progress", (event) => received.unknownRequest.push(codes(event)));
  await client.subscribe(documents.progress, { id }, "Progress", async ({ data }) => {
    received.progress.push(data.requestProgress);
    // The images are held back until the first event.
    if (received.progress.length === 1) await fetch(releaseUrl);
  });
} else {
  await fetch(releaseUrl);
}
await client.close?.();
console.log(JSON.stringify(received));

// For clients without uploads.
async function post() {
  const body = new FormData();
  body.append("operations", JSON.stringify({ query: documents.upload, variables: { input: { file: null } } }));
  body.append("map", JSON.stringify({ file: ["variables.input.file"] }));
  body.append("file", file);
  return (await fetch(url, { method: "POST", body, headers: { "GraphQL-Preflight": "1" } })).json();
}
