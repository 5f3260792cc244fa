import { expect, it } from "vitest";
import { detailsOf, hrefOf, idOf } from "./route";

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
