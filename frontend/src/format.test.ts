import { expect, it } from "vitest";
import { duration, gain, limit, saved } from "./format";

it("tells how much smaller, or that it became larger", () => {
  expect(saved(200, 50)).toBe(0.75);
  expect(gain(saved(200, 50)!)).toBe("75% saved");
  expect(gain(saved(200, 700)!)).toBe("250% larger");
  expect(saved(0, 0)).toBeNull();
  expect(saved(null, 10)).toBeNull();
});

it("shows a limit as it was set", () => {
  expect(limit(20 * 2 ** 20)).toBe("20 MiB");
});

it("tells tenths of short times only, and never nothing", () => {
  expect([20, 2_440, 12_440, 61_000, 3_720_000].map(duration)).toEqual(["0.1 sec", "2.4 sec", "12 sec", "1 min 1 sec", "1 hr 2 min"]);
});
