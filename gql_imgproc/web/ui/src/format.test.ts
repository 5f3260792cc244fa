import { expect, it } from "vitest";
import { limit, saved } from "./format";

it("tells how much smaller, and never less than nothing", () => {
  expect(saved(200, 50)).toBe(0.75);
  expect(saved(200, 220)).toBe(0);
  expect(saved(0, 0)).toBeNull();
  expect(saved(null, 10)).toBeNull();
});

it("shows a limit as it was set", () => {
  expect(limit(20 * 2 ** 20)).toBe("20 MiB");
});
