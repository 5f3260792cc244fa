import { expect, it } from "vitest";
import { formatDuration, formatLimit, formatSaving, savedShare } from "./format";

it("formats the share saved, or how much larger it became", () => {
  expect(savedShare(200, 50)).toBe(0.75);
  expect(formatSaving(savedShare(200, 50)!)).toBe("75% saved");
  expect(formatSaving(savedShare(200, 700)!)).toBe("250% larger");
  expect(savedShare(0, 0)).toBeNull();
  expect(savedShare(null, 10)).toBeNull();
});

it("formats a limit in binary units", () => {
  expect(formatLimit(20 * 2 ** 20)).toBe("20 MiB");
});

it("formats tenths for short durations only, and never zero", () => {
  expect([20, 2_440, 12_440, 61_000, 3_720_000].map(formatDuration)).toEqual(["0.1 sec", "2.4 sec", "12 sec", "1 min 1 sec", "1 hr 2 min"]);
});
