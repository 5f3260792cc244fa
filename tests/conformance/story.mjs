// One story, told by one client to the service: a query, a wrong one, a mutation that is refused, an upload, and its
// progress from the first event to the end. Prints what the client was told.
//
// A client is made by the default export of its file from the address of `/graphql`. It may
// `execute(document, variables, name)`, whose answer has `data` and `errors`; `subscribe(document, variables, name,
// next)`, which ends when the subscription has; and it says whether it can `upload`.
import { readFileSync } from "node:fs";
import { basename } from "node:path";

const [name, url, csv, go] = process.argv.slice(2);
const documents = JSON.parse(readFileSync(new URL("documents.json", import.meta.url), "utf8"));
const { default: open } = await import(`./clients/${name}.mjs`);
const client = await open(url);
const told = { progress: [] };

const codes = (answer) => answer.errors?.map((error) => error.extensions.code);

if (client.execute) {
  told.query = (await client.execute(documents.query, {}, "Limits")).data;
  told.wrong = codes(await client.execute(documents.wrong, {}, "Wrong"));
  told.refused = (await client.execute(documents.refused, { input: { id: "nonsense" } }, "Cancel")).data;
}

const file = new File([readFileSync(csv)], basename(csv), { type: "text/csv" });
const uploaded = client.upload ? await client.execute(documents.upload, { input: { file } }, "Upload") : await post();
told.upload = uploaded.data.uploadCsv;
const { id } = told.upload.request;

if (client.subscribe) {
  told.stray = [];
  await client.subscribe(documents.progress, { id: "nonsense" }, "Progress", (event) => told.stray.push(codes(event)));
  await client.subscribe(documents.progress, { id }, "Progress", async ({ data }) => {
    told.progress.push(data.requestProgress);
    // The pictures are held back until somebody watches.
    if (told.progress.length === 1) await fetch(go);
  });
} else {
  await fetch(go);
}
await client.close?.();
console.log(JSON.stringify(told));

// For a client that has no uploads.
async function post() {
  const body = new FormData();
  body.append("operations", JSON.stringify({ query: documents.upload, variables: { input: { file: null } } }));
  body.append("map", JSON.stringify({ file: ["variables.input.file"] }));
  body.append("file", file);
  return (await fetch(url, { method: "POST", body, headers: { "GraphQL-Preflight": "1" } })).json();
}
