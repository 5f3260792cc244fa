import { afterEach, beforeEach, expect, it, vi } from "vitest";
import type { Request } from "../api/types";

type Sink = { next: (result: unknown) => void; error: (reason: unknown) => void; complete: () => void };
const sinks: Sink[] = [];
const unsubscribe = vi.fn();
const query = vi.fn();
vi.mock("../api/socket", () => ({ socket: { subscribe: (_: unknown, sink: Sink) => (sinks.push(sink), unsubscribe) } }));
vi.mock("../api/query", () => ({ query: (...args: unknown[]) => query(...args) }));

const { follow, RESUBSCRIBE_MS } = await import("./watch");
const { store } = await import("./store");

const request = (sequence: number, status = "PROCESSING"): Request => ({ id: "r1", sequence, status }) as Request;
const send = (progress: Request) => sinks.at(-1)!.next({ data: { requestProgress: progress } });

beforeEach(() => {
  vi.useFakeTimers();
  sinks.length = 0;
  vi.clearAllMocks();
  store.applySnapshot(request(1));
});

afterEach(() => {
  store.delete("r1");
  vi.useRealTimers();
});

it("shares one subscription among its users and closes it after the last one", () => {
  const first = follow("r1");
  const second = follow("r1");
  send(request(2));

  expect(sinks).toHaveLength(1);
  expect(store.get("r1")!.sequence).toBe(2);
  first();
  expect(unsubscribe).not.toHaveBeenCalled();
  second();
  expect(unsubscribe).toHaveBeenCalledTimes(1);

  // A later user, for example after a retry, opens a new one.
  follow("r1")();
  expect(sinks).toHaveLength(2);
});

it("queries after an error, and subscribes again", async () => {
  query.mockResolvedValue({ request: request(7) });
  const stop = follow("r1");

  sinks[0]!.error(new Error("the server ended it"));
  await vi.advanceTimersByTimeAsync(RESUBSCRIBE_MS - 1);
  expect(query).not.toHaveBeenCalled();
  await vi.advanceTimersByTimeAsync(1);

  expect(query).toHaveBeenCalledTimes(1);
  expect(store.get("r1")!.sequence).toBe(7);
  expect(sinks).toHaveLength(2);
  stop();
});

it("subscribes again although the query failed", async () => {
  query.mockRejectedValue(new Error("The server can’t be reached."));
  const stop = follow("r1");

  sinks[0]!.error(new Error("gone"));
  await vi.advanceTimersByTimeAsync(RESUBSCRIBE_MS);

  expect(store.get("r1")!.sequence).toBe(1);
  expect(sinks).toHaveLength(2);
  stop();
});

it("subscribes again after a stream that ended early, but not after a final status", async () => {
  query.mockResolvedValue({ request: request(3) });
  const stop = follow("r1");

  sinks[0]!.complete();
  await vi.advanceTimersByTimeAsync(RESUBSCRIBE_MS);
  expect(sinks).toHaveLength(2);

  send(request(4, "COMPLETED"));
  sinks[1]!.complete();
  await vi.advanceTimersByTimeAsync(10 * RESUBSCRIBE_MS);
  expect(sinks).toHaveLength(2);
  stop();
});

it("removes a request that was deleted meanwhile", async () => {
  query.mockResolvedValue({ request: null });
  const stop = follow("r1");

  sinks[0]!.error(new Error("no such request"));
  await vi.advanceTimersByTimeAsync(RESUBSCRIBE_MS);

  expect(store.get("r1")).toBeUndefined();
  expect(sinks).toHaveLength(1);
  stop();
});

it("sends no query after the last user left", async () => {
  follow("r1")();

  sinks[0]!.error(new Error("too late"));
  await vi.advanceTimersByTimeAsync(10 * RESUBSCRIBE_MS);

  expect(query).not.toHaveBeenCalled();
  expect(sinks).toHaveLength(1);
});
