import type { Request } from "../api/types";

/** The newest known state of each request, whichever way it arrived. */
export class ProgressStore {
  #requests = new Map<string, Request>();
  #listeners = new Map<string, Set<() => void>>();

  get(id: string): Request | undefined {
    return this.#requests.get(id);
  }

  /** Takes an event of the subscription; false when it tells nothing new. */
  event(request: Request): boolean {
    const known = this.#requests.get(request.id);
    if (known && request.sequence <= known.sequence) return false;
    this.#set(request);
    return true;
  }

  /** Takes an answer to a query or mutation; false when a later state is known already.
   *
   * Equal numbers pass: time-dependent fields (rate, time left) move without a change of the request. */
  snapshot(request: Request): boolean {
    const known = this.#requests.get(request.id);
    if (known && request.sequence < known.sequence) return false;
    this.#set(request);
    return true;
  }

  delete(id: string): void {
    this.#requests.delete(id);
    this.#tell(id);
  }

  clear(): void {
    [...this.#requests.keys()].forEach((id) => this.delete(id));
  }

  listen(id: string, listener: () => void): () => void {
    const listeners = this.#listeners.get(id) ?? new Set();
    this.#listeners.set(id, listeners.add(listener));
    return () => {
      listeners.delete(listener);
      if (!listeners.size) this.#listeners.delete(id);
    };
  }

  #set(request: Request): void {
    this.#requests.set(request.id, request);
    this.#tell(request.id);
  }

  #tell(id: string): void {
    this.#listeners.get(id)?.forEach((listener) => listener());
  }
}

export const store = new ProgressStore();
