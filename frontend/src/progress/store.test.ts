import { describe, expect, it, vi } from "vitest";
import type { Request } from "../api/types";
import { ProgressStore } from "./store";

const request = (sequence: number, processedImages = sequence): Request =>
  ({ id: "r1", sequence, processedImages }) as Request;

describe("ProgressStore", () => {
  it("removes all requests and notifies listeners", () => {
    const store = new ProgressStore();
    store.applyEvent(request(7));
    const listener = vi.fn();
    store.listen("r1", listener);

    store.clear();

    expect(store.get("r1")).toBeUndefined();
    expect(listener).toHaveBeenCalledTimes(1);
    expect(store.applyEvent(request(1))).toBe(true);
  });

  it("applies events in order and notifies listeners of that request only", () => {
    const store = new ProgressStore();
    const listener = vi.fn();
    const other = vi.fn();
    store.listen("r1", listener);
    store.listen("r2", other);

    expect(store.applyEvent(request(1))).toBe(true);
    expect(store.applyEvent(request(2))).toBe(true);

    expect(store.get("r1")!.processedImages).toBe(2);
    expect(listener).toHaveBeenCalledTimes(2);
    expect(other).not.toHaveBeenCalled();
  });

  it("drops an event whose sequence is not larger", () => {
    const store = new ProgressStore();
    store.applyEvent(request(5));
    const listener = vi.fn();
    store.listen("r1", listener);

    expect(store.applyEvent(request(5, 99))).toBe(false);
    expect(store.applyEvent(request(4, 99))).toBe(false);

    expect(store.get("r1")!.processedImages).toBe(5);
    expect(listener).not.toHaveBeenCalled();
  });

  it("continues with the first snapshot of a new connection", () => {
    const store = new ProgressStore();
    store.applyEvent(request(3));

    // The connection was lost while 4 to 8 happened.
    expect(store.applyEvent(request(9))).toBe(true);

    expect(store.get("r1")!.processedImages).toBe(9);
  });

  it("applies a query result with an equal sequence, but not an older one", () => {
    const store = new ProgressStore();
    store.applyEvent(request(5));

    expect(store.applySnapshot(request(5, 50))).toBe(true);
    expect(store.applySnapshot(request(4, 99))).toBe(false);

    expect(store.get("r1")!.processedImages).toBe(50);
  });

  it("notifies about a deleted request, but not listeners that were removed", () => {
    const store = new ProgressStore();
    const listener = vi.fn();
    store.applyEvent(request(1));
    const unlisten = store.listen("r1", listener);

    store.delete("r1");
    unlisten();
    store.applyEvent(request(1));

    expect(listener).toHaveBeenCalledTimes(1);
  });
});
