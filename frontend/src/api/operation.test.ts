import { buildSchema, parse, validate } from "graphql";
import { describe, expect, it } from "vitest";
import { textOf, type Operation } from "./graphql";
import * as operations from "./operation";

// Exported from the code to the root of the repository; a glob, so that its absence skips instead of failing.
const [text] = Object.values(
  import.meta.glob<string>("../../../../../schema.graphql", { query: "?raw", import: "default", eager: true }),
);

describe.skipIf(!text)("every operation is valid under schema.graphql", () => {
  const schema = buildSchema(text ?? "type Query { nothing: Int }");

  it.each(Object.entries(operations))("%s", (_, operation: Operation<any, any>) => {
    expect(validate(schema, parse(textOf(operation)))).toEqual([]);
  });
});
