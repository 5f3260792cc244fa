import { expect, test } from "vitest";
import type { CsvEstimate } from "../api/types";
import { describeSaving } from "./estimate-result";

const measured: CsvEstimate = {
  __typename: "CsvEstimate",
  totalImages: 1000,
  measuredImages: 200,
  inputBytes: 2_000_000,
  savedPercent: 60,
  savedPercentLow: 55.2,
  savedPercentHigh: 64.6,
  seconds: 90,
  failures: [],
};

test("an estimate has its interval and the bytes before and after", () => {
  expect(describeSaving(measured)).toEqual({ expected: "60% smaller", range: "expected, 55% to 65%", bytes: "2 MB become 800 kB" });
});

test("a file that was measured whole has no interval", () => {
  expect(describeSaving({ ...measured, savedPercentLow: 60, savedPercentHigh: 60 })?.range).toBe("");
});

test("nothing is expected if every image of the sample fails", () => {
  expect(describeSaving({ ...measured, inputBytes: null, savedPercent: null })).toBeNull();
});
