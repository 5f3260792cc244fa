/** A value that notifies its listeners when it changes. */
export class Signal<Value> {
  #listeners = new Set<() => void>();

  constructor(public value: Value) {}

  set(value: Value): void {
    if (value === this.value) return;
    this.value = value;
    this.#listeners.forEach((listener) => listener());
  }

  listen(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
