import { expect, it } from "vitest";
import type { Product, ProductStatus } from "../api/types";
import { mayChange, productsOf, type Page } from "./product-pages";

const product = (id: string, status: ProductStatus = "COMPLETED"): Product => ({ id, status }) as Product;
const page = (...products: Product[]): Page => ({ after: null, products, end: null, more: false });

it("lists a product once, in its newest state, when it stands on two pages", () => {
  const products = productsOf([page(product("a"), product("b", "PENDING")), page(product("b"), product("c"))]);

  expect(products.map(({ id, status }) => [id, status])).toEqual([
    ["a", "COMPLETED"],
    ["b", "COMPLETED"],
    ["c", "COMPLETED"],
  ]);
});

it("asks again for pages that are not full or not done", () => {
  expect(mayChange(page(product("a"), product("b")), 2)).toBe(false);
  expect(mayChange(page(product("a")), 2)).toBe(true);
  expect(mayChange(page(product("a"), product("b", "PROCESSING")), 2)).toBe(true);
  expect(mayChange(page(product("a"), product("b", "FAILED")), 2)).toBe(true);
});
