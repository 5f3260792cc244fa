import { afterEach, expect, it, vi } from "vitest";
import { now, setByServer } from "./clock";

afterEach(() => vi.useRealTimers());

it("tells the time of the server, of which one is trusted and a header is enough", () => {
  vi.useFakeTimers({ now: Date.UTC(2026, 0, 1, 12, 0, 0) });
  expect(now()).toBe(Date.now());

  setByServer("Thu, 01 Jan 2026 14:00:00 GMT");
  expect(now()).toBe(Date.UTC(2026, 0, 1, 14, 0, 0));
  vi.advanceTimersByTime(1_500);
  expect(now()).toBe(Date.UTC(2026, 0, 1, 14, 0, 1, 500));

  // Neither a header that is missing nor one that is none changes it,
  setByServer(null);
  setByServer("soon");
  expect(now()).toBe(Date.UTC(2026, 0, 1, 14, 0, 1, 500));

  // and what rounding makes of an equal clock is no skew.
  setByServer("Thu, 01 Jan 2026 12:00:00 GMT");
  expect(now()).toBe(Date.now());
});
