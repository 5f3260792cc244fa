import { expect, it } from "vitest";
import { argumentsOf, end, fromDetails, next, PAGE_SIZE, previous, start, toDetails, type Place } from "./place";

const shown = { products: Array(PAGE_SIZE), first: "f", last: "l" };

it("goes from page to page by cursor, to the end at once, and never before the start", () => {
  const second = next(start, shown);
  const last = end(second, 100_000);

  expect(argumentsOf(start)).toEqual({ status: null, nameContains: null, first: PAGE_SIZE, after: null });
  expect(argumentsOf(second)).toMatchObject({ first: PAGE_SIZE, after: "l" });
  expect(argumentsOf(last)).toMatchObject({ last: PAGE_SIZE, before: null });
  expect(argumentsOf(previous(last, shown))).toMatchObject({ last: PAGE_SIZE, before: "f" });
  expect([second.from, last.from, previous(last, shown).from, previous(start, shown).from]).toEqual([
    PAGE_SIZE,
    100_000 - PAGE_SIZE,
    100_000 - 2 * PAGE_SIZE,
    0,
  ]);
});

it.each<Place>([
  start,
  { status: "FAILED", name: "lamp & “Arc”", cursor: "a=b", backward: false, from: 24 },
  { ...start, cursor: "a=b", backward: true, from: 24 },
  { ...start, backward: true, from: 99_976 },
])("stands in the address and is read again: %#", (place) => {
  expect(fromDetails(new URLSearchParams(toDetails(place).toString()))).toEqual(place);
});

it("searches for what is written, without the spaces around it", () => {
  expect(argumentsOf({ ...start, name: "  lamp " }).nameContains).toBe("lamp");
  expect(argumentsOf({ ...start, name: "   " }).nameContains).toBeNull();
});
