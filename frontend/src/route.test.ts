import { expect, it, vi } from "vitest";
import { detailsOf, here, hrefOf, idOf } from "./route";

it("finds the request in the address, whatever stands behind it", () => {
  expect(idOf(hrefOf("req_1"))).toBe("req_1");
  expect(idOf(hrefOf("a/b?c") + "?status=FAILED")).toBe("a/b?c");
  expect(detailsOf("#/requests/req_1?status=FAILED").get("status")).toBe("FAILED");
  expect(idOf("")).toBeNull();
  expect(idOf("#/")).toBeNull();
});

it("takes a broken address for a request that there is not", () => {
  expect(idOf("#/requests/%E0%A4%A")).toBe("%E0%A4%A");
});

it("stays on the host that it was opened under, and keeps what opens an address", () => {
  vi.stubGlobal("location", { href: "http://127.0.0.1:8000/#/" });

  expect(here("https://shop.example/pictures/api/download/req_1?expires=1&signature=2")).toBe("/api/download/req_1?expires=1&signature=2");
  expect(here("https://shop.example/api/image/a/b.jpg")).toBe("/api/image/a/b.jpg");
  expect(here("https://bucket.example/b.jpg?x=1")).toBe("https://bucket.example/b.jpg?x=1");
});
