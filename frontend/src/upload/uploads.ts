import { Signal } from "../api/signal";
import type { Refused } from "../api/types";
import { upload } from "../api/upload";
import { bytes, limit, plural } from "../format";
import { announce } from "../parts/announcer";
import { store } from "../progress/store";
import { inputOf, newKey, type Options } from "./options";

export type UploadState =
  | { at: "sending"; share: number }
  | { at: "refused"; result: Refused }
  | { at: "failed"; message: string };

export interface Upload {
  /** Of all attempts with this file, so that a lost answer starts nothing twice. */
  readonly key: string;
  readonly file: File;
  readonly options: Options;
  readonly state: UploadState;
}

/** Files on their way. They belong to no page: looking at another request stops none of them. */
export class Uploads {
  /** Those that were not accepted, or not yet. */
  readonly list = new Signal<readonly Upload[]>([]);
  /** Identifiers of the requests that came of the others, newest first. */
  readonly accepted = new Signal<readonly string[]>([]);
  #aborts = new Map<string, AbortController>();

  add(files: File[], options: Options, maxUploadBytes: number | null): void {
    for (const file of files) {
      const added: Upload = { key: newKey(), file, options, state: { at: "sending", share: 0 } };
      this.list.set([...this.list.value, added]);
      if (maxUploadBytes === null || file.size <= maxUploadBytes) void this.send(added);
      else {
        const message = `The file has ${bytes(file.size)}; at most ${limit(maxUploadBytes)} are accepted. Split it into several files.`;
        this.#become(added.key, { at: "refused", result: { __typename: "UploadTooLarge", message, limitBytes: maxUploadBytes } });
      }
    }
  }

  /** Sends a file for the first time or again. */
  async send({ key, file, options }: Upload): Promise<void> {
    const abort = new AbortController();
    this.#aborts.set(key, abort);
    this.#become(key, { at: "sending", share: 0 });
    try {
      const onProgress = (share: number) => this.#become(key, { at: "sending", share });
      const result = await upload(file, inputOf(options, key), onProgress, abort.signal);
      if (result.__typename === "UploadCsvSuccess") {
        const { request } = result;
        store.snapshot(request);
        this.accepted.set([request.id, ...this.accepted.value.filter((id) => id !== request.id)]);
        this.remove(key);
        announce(`${file.name} accepted, ${plural(request.totalImages, "picture")}.`);
      } else {
        this.#become(key, { at: "refused", result });
        announce(`${file.name} was refused. ${result.message}`);
      }
    } catch (error) {
      this.#become(key, { at: "failed", message: (error as Error).message });
      announce(`${file.name} could not be uploaded.`);
    } finally {
      this.#aborts.delete(key);
    }
  }

  /** Takes a file off the list, and stops it if it is on its way. */
  remove(key: string): void {
    this.#aborts.get(key)?.abort();
    this.#aborts.delete(key);
    this.list.set(this.list.value.filter((item) => item.key !== key));
  }

  get sending(): boolean {
    return this.#aborts.size > 0;
  }

  #become(key: string, state: UploadState): void {
    this.list.set(this.list.value.map((item) => (item.key === key ? { ...item, state } : item)));
  }
}

export const uploads = new Uploads();
