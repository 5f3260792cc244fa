import { describe, expect, it, vi } from "vitest";
import type { Request } from "../api/types";
import { ProgressStore } from "./store";

const request = (sequence: number, processedImages = sequence): Request =>
  ({ id: "r1", sequence, processedImages }) as Request;

describe("the store of progress events", () => {
  it("forgets everything when another key is used, and tells who looks", () => {
    const store = new ProgressStore();
    store.event(request(7));
    const heard = vi.fn();
    store.listen("r1", heard);

    store.clear();

    expect(store.get("r1")).toBeUndefined();
    expect(heard).toHaveBeenCalledTimes(1);
    expect(store.event(request(1))).toBe(true);
  });

  it("takes events in order and tells listeners of that request only", () => {
    const store = new ProgressStore();
    const heard = vi.fn();
    const other = vi.fn();
    store.listen("r1", heard);
    store.listen("r2", other);

    expect(store.event(request(1))).toBe(true);
    expect(store.event(request(2))).toBe(true);

    expect(store.get("r1")!.processedImages).toBe(2);
    expect(heard).toHaveBeenCalledTimes(2);
    expect(other).not.toHaveBeenCalled();
  });

  it("drops an event whose number is not above the last one", () => {
    const store = new ProgressStore();
    store.event(request(5));
    const heard = vi.fn();
    store.listen("r1", heard);

    expect(store.event(request(5, 99))).toBe(false);
    expect(store.event(request(4, 99))).toBe(false);

    expect(store.get("r1")!.processedImages).toBe(5);
    expect(heard).not.toHaveBeenCalled();
  });

  it("goes on with the snapshot that a new connection begins with", () => {
    const store = new ProgressStore();
    store.event(request(3));

    // The connection was lost while 4 to 8 happened.
    expect(store.event(request(9))).toBe(true);

    expect(store.get("r1")!.processedImages).toBe(9);
  });

  it("takes an equal answer to a query, yet no older one", () => {
    const store = new ProgressStore();
    store.event(request(5));

    expect(store.snapshot(request(5, 50))).toBe(true);
    expect(store.snapshot(request(4, 99))).toBe(false);

    expect(store.get("r1")!.processedImages).toBe(50);
  });

  it("tells when a request is gone, and forgets listeners that left", () => {
    const store = new ProgressStore();
    const heard = vi.fn();
    store.event(request(1));
    const leave = store.listen("r1", heard);

    store.delete("r1");
    leave();
    store.event(request(1));

    expect(heard).toHaveBeenCalledTimes(1);
  });
});
