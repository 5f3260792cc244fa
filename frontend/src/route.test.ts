import { expect, it, vi } from "vitest";
import { hashParams, parseRequestId, requestHref, toSameOrigin } from "./route";

it("finds the request ID in the URL, with or without parameters", () => {
  expect(parseRequestId(requestHref("req_1"))).toBe("req_1");
  expect(parseRequestId(requestHref("a/b?c") + "?status=FAILED")).toBe("a/b?c");
  expect(hashParams("#/requests/req_1?status=FAILED").get("status")).toBe("FAILED");
  expect(parseRequestId("")).toBeNull();
  expect(parseRequestId("#/")).toBeNull();
});

it("returns an invalid request ID unchanged", () => {
  expect(parseRequestId("#/requests/%E0%A4%A")).toBe("%E0%A4%A");
});

it("keeps the page's own host and the signature of a URL", () => {
  vi.stubGlobal("location", { href: "http://127.0.0.1:8000/#/" });

  expect(toSameOrigin("https://shop.example/images/api/download/req_1?expires=1&signature=2")).toBe("/api/download/req_1?expires=1&signature=2");
  expect(toSameOrigin("https://shop.example/api/image/a/b.jpg")).toBe("/api/image/a/b.jpg");
  expect(toSameOrigin("https://bucket.example/b.jpg?x=1")).toBe("https://bucket.example/b.jpg?x=1");
});
