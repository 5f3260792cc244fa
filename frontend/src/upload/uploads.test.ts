import { beforeEach, expect, it, vi } from "vitest";
import type { Request, UploadResult } from "../api/types";

type Sent = { key: string; onProgress: (share: number) => void; signal: AbortSignal; answer: (result: UploadResult) => void; fail: (error: Error) => void };
const sent: Sent[] = [];
vi.mock("../api/upload", () => ({
  upload: (_: File, input: { idempotencyKey: string }, onProgress: Sent["onProgress"], signal: AbortSignal) =>
    new Promise((answer, fail) => sent.push({ key: input.idempotencyKey, onProgress, signal, answer, fail })),
}));

const { Uploads } = await import("./uploads");
const { defaults } = await import("./options");
const { store } = await import("../progress/store");

const file = new File(["12345"], "lamps.csv");
const accepted = (id: string) => ({ __typename: "UploadCsvSuccess", replayed: false, request: { id, sequence: 1, totalImages: 2 } as Request }) as UploadResult;
const settled = () => new Promise((resolve) => setTimeout(resolve));

beforeEach(() => {
  sent.length = 0;
});

it("moves an accepted file to the requests", async () => {
  const uploads = new Uploads();
  uploads.add([file], defaults, null);
  sent[0]!.onProgress(0.5);

  expect(uploads.list.value.map(({ state }) => state)).toEqual([{ status: "sending", share: 0.5 }]);
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
  sent[0]!.answer({ __typename: "CsvInvalid", message: "The CSV file has 1 problem.", totalErrors: 1, errors: [] } as unknown as UploadResult);
  sent[1]!.fail(new Error("The server can’t be reached."));
  await settled();

  expect(uploads.list.value.map(({ state }) => state.status)).toEqual(["rejected", "failed"]);
  void uploads.send(uploads.list.value[1]!);
  expect(sent[2]!.key).toBe(sent[1]!.key);
  expect(sent[0]!.key).not.toBe(sent[1]!.key);
});

it("aborts the upload of a file that is removed from the list", () => {
  const uploads = new Uploads();
  uploads.add([file], defaults, null);

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
