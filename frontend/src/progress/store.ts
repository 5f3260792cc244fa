import type { Request } from "../api/types";

/** The latest known state of each request, from subscriptions, queries and mutations. */
export class ProgressStore {
  #requests = new Map<string, Request>();
  #listeners = new Map<string, Set<() => void>>();

  get(id: string): Request | undefined {
    return this.#requests.get(id);
  }

  /** Applies a subscription event. Returns false if the state is not newer. */
  applyEvent(request: Request): boolean {
    const known = this.#requests.get(request.id);
    if (known && request.sequence <= known.sequence) return false;
    this.#set(request);
    return true;
  }

  /** Applies the result of a query or mutation. Returns false if a newer state is known.
   *
   * An equal sequence is applied: rate and time left change without a new sequence. */
  applySnapshot(request: Request): boolean {
    const known = this.#requests.get(request.id);
    if (known && request.sequence < known.sequence) return false;
    this.#set(request);
    return true;
  }

  delete(id: string): void {
    this.#requests.delete(id);
    this.#notify(id);
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
    this.#notify(request.id);
  }

  #notify(id: string): void {
    this.#listeners.get(id)?.forEach((listener) => listener());
  }
}

export const store = new ProgressStore();
