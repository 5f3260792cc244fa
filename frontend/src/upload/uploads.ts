import { Signal } from "../api/signal";
import type { CsvPreview, Estimate, UploadError } from "../api/types";
import { estimate, preview, upload } from "../api/upload";
import { formatBytes, formatLimit, pluralize } from "../format";
import { announce } from "../parts/announcer";
import { store } from "../progress/store";
import { toUploadInput, generateIdempotencyKey, type FileChoice, type Options } from "./options";

export type UploadState =
  | { status: "checking" }
  /** The columns must be chosen. */
  | { status: "columns"; preview: CsvPreview }
  | { status: "estimating" }
  /** Nothing was uploaded yet. */
  | { status: "estimated"; result: Estimate }
  | { status: "sending"; share: number }
  | { status: "rejected"; result: UploadError }
  | { status: "failed"; message: string };

export interface Upload {
  /** Idempotency key of all attempts with this file: a retry after a lost response starts nothing twice. */
  readonly key: string;
  readonly file: File;
  readonly options: Options;
  readonly choice: FileChoice;
  /** What the file was recognized as. */
  readonly profile: CsvPreview["profile"];
  readonly state: UploadState;
}

/** Uploads in progress. They belong to no page, so navigation does not stop them. */
export class Uploads {
  /** Uploads that are running, rejected or failed. */
  readonly list = new Signal<readonly Upload[]>([]);
  /** IDs of the requests of accepted uploads, newest first. */
  readonly accepted = new Signal<readonly string[]>([]);
  #aborts = new Map<string, AbortController>();

  add(files: File[], options: Options, maxUploadBytes: number | null): void {
    for (const file of files) {
      const added: Upload = { key: generateIdempotencyKey(), file, options, choice: {}, profile: null, state: { status: "checking" } };
      this.list.set([...this.list.value, added]);
      if (maxUploadBytes === null || file.size <= maxUploadBytes) void this.start(added);
      else {
        const message = `The file has ${formatBytes(file.size)}. The limit is ${formatLimit(maxUploadBytes)}. Split it into several files.`;
        this.#setState(added.key, { status: "rejected", result: { __typename: "UploadTooLarge", message, limitBytes: maxUploadBytes } });
      }
    }
  }

  /** Finds out what a file is, then sends it or lets its columns be chosen. */
  async start(started: Upload): Promise<void> {
    const { key, file, options, choice } = started;
    await this.#work(key, { status: "checking" }, file, async (signal) => {
      const result = await preview(file, toUploadInput(options, choice, key), signal);
      if (result.__typename !== "CsvPreview") this.#reject(key, file, result);
      else if (!result.profile || options.choosesColumns) this.#change(key, { state: { status: "columns", preview: result } });
      else {
        this.#change(key, { profile: result.profile });
        announce(`${file.name} is recognized.`);
        await this.proceed(started);
      }
    });
  }

  /** Continues with what was chosen: the columns, or only another sheet. */
  choose(upload: Upload, choice: FileChoice): void {
    const chosen = { ...upload, choice };
    this.#change(upload.key, { choice });
    void (choice.columns ? this.proceed(chosen) : this.start(chosen));
  }

  /** Continues with a file whose columns are known. */
  proceed(known: Upload): Promise<void> {
    return known.options.estimates ? this.#estimate(known) : this.send(known);
  }

  /** Measures a sample of the images. Nothing is stored until the file is sent. */
  async #estimate({ key, file, options, choice }: Upload): Promise<void> {
    await this.#work(key, { status: "estimating" }, file, async (signal) => {
      const result = await estimate(file, toUploadInput(options, choice, key), signal);
      if (result.__typename === "CsvEstimate" || result.__typename === "EstimateUnavailable") {
        this.#setState(key, { status: "estimated", result });
        announce(`The estimate of ${file.name} is ready.`);
      } else this.#reject(key, file, result);
    });
  }

  /** Sends a file for the first time or again. */
  async send({ key, file, options, choice }: Upload): Promise<void> {
    await this.#work(key, { status: "sending", share: 0 }, file, async (signal) => {
      const onProgress = (share: number) => this.#setState(key, { status: "sending", share });
      const result = await upload(file, toUploadInput(options, choice, key), onProgress, signal);
      if (result.__typename === "UploadCsvSuccess") {
        const { request } = result;
        store.applySnapshot(request);
        this.accepted.set([request.id, ...this.accepted.value.filter((id) => id !== request.id)]);
        this.remove(key);
        announce(`${file.name} accepted, ${pluralize(request.totalImages, "image")}.`);
      } else this.#reject(key, file, result);
    });
  }

  async #work(key: string, state: UploadState, file: File, work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const abort = new AbortController();
    this.#aborts.set(key, abort);
    this.#setState(key, state);
    try {
      await work(abort.signal);
    } catch (error) {
      if (abort.signal.aborted) return;
      this.#setState(key, { status: "failed", message: (error as Error).message });
      announce(`${file.name} could not be uploaded.`);
    } finally {
      this.#aborts.delete(key);
    }
  }

  /** Removes a file from the list and aborts its upload. */
  remove(key: string): void {
    this.#aborts.get(key)?.abort();
    this.#aborts.delete(key);
    this.list.set(this.list.value.filter((item) => item.key !== key));
  }

  get sending(): boolean {
    return this.#aborts.size > 0;
  }

  #reject(key: string, file: File, result: UploadError): void {
    this.#setState(key, { status: "rejected", result });
    announce(`${file.name} was rejected. ${result.message}`);
  }

  #setState(key: string, state: UploadState): void {
    this.#change(key, { state });
  }

  #change(key: string, change: Partial<Upload>): void {
    this.list.set(this.list.value.map((item) => (item.key === key ? { ...item, ...change } : item)));
  }
}

export const uploads = new Uploads();
