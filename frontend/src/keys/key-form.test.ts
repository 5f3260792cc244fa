import { expect, test } from "vitest";
import { expiryAfter } from "./key-form";

test("a key expires after whole days, or never", () => {
  const from = Date.parse("2030-01-01T12:00:00Z");

  expect(expiryAfter(30, from)).toBe("2030-01-31T12:00:00.000Z");
  expect(expiryAfter(0, from)).toBeNull();
});
