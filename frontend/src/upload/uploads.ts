import { Signal } from "../api/signal";
import type { UploadError } from "../api/types";
import { upload } from "../api/upload";
import { formatBytes, formatLimit, pluralize } from "../format";
import { announce } from "../parts/announcer";
import { store } from "../progress/store";
import { toUploadInput, generateIdempotencyKey, type Options } from "./options";

export type UploadState =
  | { status: "sending"; share: number }
  | { status: "rejected"; result: UploadError }
  | { status: "failed"; message: string };

export interface Upload {
  /** Idempotency key of all attempts with this file: a retry after a lost response starts nothing twice. */
  readonly key: string;
  readonly file: File;
  readonly options: Options;
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
      const added: Upload = { key: generateIdempotencyKey(), file, options, state: { status: "sending", share: 0 } };
      this.list.set([...this.list.value, added]);
      if (maxUploadBytes === null || file.size <= maxUploadBytes) void this.send(added);
      else {
        const message = `The file has ${formatBytes(file.size)}. The limit is ${formatLimit(maxUploadBytes)}. Split it into several files.`;
        this.#setState(added.key, { status: "rejected", result: { __typename: "UploadTooLarge", message, limitBytes: maxUploadBytes } });
      }
    }
  }

  /** Sends a file for the first time or again. */
  async send({ key, file, options }: Upload): Promise<void> {
    const abort = new AbortController();
    this.#aborts.set(key, abort);
    this.#setState(key, { status: "sending", share: 0 });
    try {
      const onProgress = (share: number) => this.#setState(key, { status: "sending", share });
      const result = await upload(file, toUploadInput(options, key), onProgress, abort.signal);
      if (result.__typename === "UploadCsvSuccess") {
        const { request } = result;
        store.applySnapshot(request);
        this.accepted.set([request.id, ...this.accepted.value.filter((id) => id !== request.id)]);
        this.remove(key);
        announce(`${file.name} accepted, ${pluralize(request.totalImages, "image")}.`);
      } else {
        this.#setState(key, { status: "rejected", result });
        announce(`${file.name} was rejected. ${result.message}`);
      }
    } catch (error) {
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

  #setState(key: string, state: UploadState): void {
    this.list.set(this.list.value.map((item) => (item.key === key ? { ...item, state } : item)));
  }
}

export const uploads = new Uploads();
