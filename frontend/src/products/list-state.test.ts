import { expect, it } from "vitest";
import { queryVariables, end, fromHashParams, next, PAGE_SIZE, previous, start, toHashParams, type ListState } from "./list-state";

const page = { products: Array(PAGE_SIZE), first: "f", last: "l" };

it("moves by cursor, jumps to the end, and stops at the start", () => {
  const second = next(start, page);
  const last = end(second, 100_000);

  expect(queryVariables(start)).toEqual({ status: null, nameContains: null, first: PAGE_SIZE, after: null });
  expect(queryVariables(second)).toMatchObject({ first: PAGE_SIZE, after: "l" });
  expect(queryVariables(last)).toMatchObject({ last: PAGE_SIZE, before: null });
  expect(queryVariables(previous(last, page))).toMatchObject({ last: PAGE_SIZE, before: "f" });
  expect([second.from, last.from, previous(last, page).from, previous(start, page).from]).toEqual([
    PAGE_SIZE,
    100_000 - PAGE_SIZE,
    100_000 - 2 * PAGE_SIZE,
    0,
  ]);
});

it.each<ListState>([
  start,
  { ...start, status: "FAILED", name: "lamp & “Arc”", cursor: "a=b", from: 24 },
  { ...start, change: "GONE", cursor: "a=b", backward: true, from: 24 },
  { ...start, backward: true, from: 99_976 },
])("survives a round trip through the URL: %#", (state) => {
  expect(fromHashParams(new URLSearchParams(toHashParams(state).toString()))).toEqual(state);
});

it("trims the search text", () => {
  expect(queryVariables({ ...start, name: "  lamp " }).nameContains).toBe("lamp");
  expect(queryVariables({ ...start, name: "   " }).nameContains).toBeNull();
});
