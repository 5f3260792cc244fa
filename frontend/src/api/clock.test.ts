import { afterEach, expect, it, vi } from "vitest";
import { now, setByServer } from "./clock";

afterEach(() => vi.useRealTimers());

it("returns the time of the server", () => {
  vi.useFakeTimers({ now: Date.UTC(2026, 0, 1, 12, 0, 0) });
  expect(now()).toBe(Date.now());

  setByServer("Thu, 01 Jan 2026 14:00:00 GMT");
  expect(now()).toBe(Date.UTC(2026, 0, 1, 14, 0, 0));
  vi.advanceTimersByTime(1_500);
  expect(now()).toBe(Date.UTC(2026, 0, 1, 14, 0, 1, 500));

  // A missing or invalid header changes nothing,
  setByServer(null);
  setByServer("soon");
  expect(now()).toBe(Date.UTC(2026, 0, 1, 14, 0, 1, 500));

  // and a difference within the rounding of the header is no skew.
  setByServer("Thu, 01 Jan 2026 12:00:00 GMT");
  expect(now()).toBe(Date.now());
});
