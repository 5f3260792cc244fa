import { expect, test } from "vitest";
import type { Request } from "../api/types";
import { describeFile } from "./profile";

test("the file is named by its shop, with the rows that were skipped", () => {
  expect(describeFile({ profile: "SHOPIFY", skippedRows: 0 })).toBe("Shopify export");
  expect(describeFile({ profile: "MAGENTO", skippedRows: 2 })).toBe("Magento export, 2 invalid rows left as they were");
});

test("a profile of a newer server is shown by its name", () => {
  expect(describeFile({ profile: "ETSY" as Request["profile"], skippedRows: 0 })).toBe("ETSY");
});
