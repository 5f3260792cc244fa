import { expect, test } from "vitest";
import { describeCause, describeHost } from "./failures";

test("a cause that a newer service adds is shown as its code", () => {
  expect(describeCause("HTTP_STATUS")).toBe("Dead link or access denied");
  expect(describeCause("NEW_CAUSE")).toBe("NEW_CAUSE");
});

test("the name of a host has no port unless it is unusual", () => {
  expect(describeHost("cdn.example:443")).toBe("cdn.example");
  expect(describeHost("cdn.example:80")).toBe("cdn.example");
  expect(describeHost("cdn.example:8443")).toBe("cdn.example:8443");
});
