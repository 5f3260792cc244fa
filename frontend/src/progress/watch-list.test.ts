import { afterEach, beforeEach, expect, it, vi } from "vitest";
import type { RequestPage } from "../api/types";

type Sink = { next: (result: unknown) => void; error: (reason: unknown) => void; complete: () => void };
const sinks: Sink[] = [];
const asked: unknown[] = [];
const unsubscribe = vi.fn();
vi.mock("../api/socket", () => ({ socket: { subscribe: ({ variables }: { variables: unknown }, sink: Sink) => (asked.push(variables), sinks.push(sink), unsubscribe) } }));

const { RESUBSCRIBE_MS } = await import("./watch");
const { watchList } = await import("./watch-list");

const filter = { fileName: "lamps" };
const page = (totalCount: number): RequestPage => ({ edges: [], pageInfo: { hasNextPage: false, endCursor: null }, totalCount });

beforeEach(() => {
  vi.useFakeTimers();
  sinks.length = 0;
  asked.length = 0;
  vi.clearAllMocks();
});

afterEach(() => void vi.useRealTimers());

it("shows each page, but no error", () => {
  const show = vi.fn();
  watchList(12, filter, show)();

  sinks[0]!.next({ data: { requestsChanged: page(1) } });
  sinks[0]!.next({ data: null, errors: [{ message: "The API key has expired." }] });

  expect(show.mock.calls).toEqual([[page(1)]]);
  expect(asked).toEqual([{ first: 12, filter }]);
});

it("subscribes again after an error and after the end", () => {
  const stop = watchList(12, filter, vi.fn());

  sinks[0]!.error(new Error("the database is unavailable"));
  vi.advanceTimersByTime(RESUBSCRIBE_MS);
  expect(sinks).toHaveLength(2);

  sinks[1]!.complete();
  vi.advanceTimersByTime(RESUBSCRIBE_MS);
  expect(sinks).toHaveLength(3);
  stop();
});

it("does not subscribe again when it was stopped", () => {
  const stop = watchList(12, filter, vi.fn());
  sinks[0]!.error(new Error("gone"));

  stop();
  sinks[0]!.complete();
  vi.advanceTimersByTime(10 * RESUBSCRIBE_MS);

  expect(unsubscribe).toHaveBeenCalledTimes(1);
  expect(sinks).toHaveLength(1);
});
