import { beforeEach, expect, it, vi } from "vitest";
import type { CsvPreview, Estimate, Preview, Request, UploadInput, UploadResult } from "../api/types";

type Sent = { key: string; input: UploadInput; onProgress: (share: number) => void; signal: AbortSignal; answer: (result: UploadResult) => void; fail: (error: Error) => void };
const sent: Sent[] = [];
let previewed: Preview;
let estimated: Estimate | Error;
vi.mock("../api/upload", () => ({
  preview: () => Promise.resolve(previewed),
  estimate: async () => {
    if (estimated instanceof Error) throw estimated;
    return estimated;
  },
  upload: (_: File, input: UploadInput, onProgress: Sent["onProgress"], signal: AbortSignal) =>
    new Promise((answer, fail) => sent.push({ key: input.idempotencyKey!, input, onProgress, signal, answer, fail })),
}));

const { Uploads } = await import("./uploads");
const { defaults } = await import("./options");
const { store } = await import("../progress/store");

const file = new File(["12345"], "lamps.csv");
const accepted = (id: string) => ({ __typename: "UploadCsvSuccess", replayed: false, request: { id, sequence: 1, totalImages: 2 } as Request }) as UploadResult;
const settled = () => new Promise((resolve) => setTimeout(resolve));

const recognized: CsvPreview = { __typename: "CsvPreview", profile: "SHOPIFY", columns: ["Handle", "Photo"], rows: [["a", "https://a.example/1.jpg"]], sheet: null, sheets: [] };

beforeEach(() => {
  sent.length = 0;
  previewed = recognized;
});

it("moves an accepted file to the requests", async () => {
  const uploads = new Uploads();
  uploads.add([file], defaults, null);
  expect(uploads.list.value[0]!.state).toEqual({ status: "checking" });
  await settled();
  sent[0]!.onProgress(0.5);

  expect(uploads.list.value.map(({ state, profile }) => [state, profile])).toEqual([[{ status: "sending", share: 0.5 }, "SHOPIFY"]]);
  expect(uploads.sending).toBe(true);
  sent[0]!.answer(accepted("r1"));
  await settled();

  expect(uploads.list.value).toEqual([]);
  expect(uploads.accepted.value).toEqual(["r1"]);
  expect(uploads.sending).toBe(false);
  expect(store.get("r1")!.totalImages).toBe(2);
});

it("keeps rejected and failed files, and retries with the same idempotency key", async () => {
  const uploads = new Uploads();
  uploads.add([file, file], defaults, null);
  await settled();
  sent[0]!.answer({ __typename: "CsvInvalid", message: "The CSV file has 1 problem.", totalErrors: 1, errors: [] } as unknown as UploadResult);
  sent[1]!.fail(new Error("The server can’t be reached."));
  await settled();

  expect(uploads.list.value.map(({ state }) => state.status)).toEqual(["rejected", "failed"]);
  void uploads.send(uploads.list.value[1]!);
  expect(sent[2]!.key).toBe(sent[1]!.key);
  expect(sent[0]!.key).not.toBe(sent[1]!.key);
});

it("aborts the upload of a file that is removed from the list", async () => {
  const uploads = new Uploads();
  uploads.add([file], defaults, null);
  await settled();

  uploads.remove(uploads.list.value[0]!.key);

  expect(sent[0]!.signal.aborted).toBe(true);
  expect(uploads.list.value).toEqual([]);
  expect(uploads.sending).toBe(false);
});

it("rejects a file that is too large without sending it", () => {
  const uploads = new Uploads();
  uploads.add([file], defaults, 4);

  expect(sent).toEqual([]);
  expect(uploads.list.value[0]!.state).toMatchObject({ status: "rejected", result: { __typename: "UploadTooLarge", limitBytes: 4 } });
});

it("lets the columns of a file be chosen that is not recognized, or on request", async () => {
  const uploads = new Uploads();
  uploads.add([file], { ...defaults, choosesColumns: true, encoding: " gbk " }, null);
  previewed = { ...recognized, profile: null };
  uploads.add([file], defaults, null);
  await settled();

  expect(uploads.list.value.map(({ state }) => state.status)).toEqual(["columns", "columns"]);
  expect(sent).toEqual([]);
  const columns = { images: ["Photo"], name: null, id: "Handle" };
  uploads.choose(uploads.list.value[0]!, { sheet: null, columns });
  expect(sent[0]!.input).toMatchObject({ columns, encoding: "gbk" });
});

it("looks at another sheet before it sends the file", async () => {
  const uploads = new Uploads();
  previewed = { ...recognized, profile: null, sheet: "Notes", sheets: ["Notes", "Products"] };
  uploads.add([file], defaults, null);
  await settled();

  previewed = { ...recognized, sheet: "Products", sheets: ["Notes", "Products"] };
  uploads.choose(uploads.list.value[0]!, { sheet: "Products" });
  await settled();

  expect(sent.map(({ input }) => input.sheet)).toEqual(["Products"]);
});

it("keeps a file that is no table as rejected", async () => {
  const uploads = new Uploads();
  previewed = { __typename: "CsvInvalid", message: "The CSV file has 1 problem.", totalErrors: 1, errors: [] };
  uploads.add([file], defaults, null);
  await settled();

  expect(uploads.list.value[0]!.state.status).toBe("rejected");
  expect(sent).toEqual([]);
});

it("estimates a file on request, and sends it only then", async () => {
  const uploads = new Uploads();
  estimated = new Error("Rate limit exceeded.");
  uploads.add([file], { ...defaults, estimates: true }, null);
  await settled();
  expect(uploads.list.value[0]!.state).toEqual({ status: "failed", message: "Rate limit exceeded." });

  estimated = { __typename: "EstimateUnavailable", message: "No worker has measured the sample in time." };
  await uploads.proceed(uploads.list.value[0]!);
  expect(uploads.list.value[0]!.state).toEqual({ status: "estimated", result: estimated });
  expect(sent).toEqual([]);

  void uploads.send(uploads.list.value[0]!);
  sent[0]!.answer(accepted("r1"));
  await settled();
  expect(uploads.accepted.value).toEqual(["r1"]);
});
