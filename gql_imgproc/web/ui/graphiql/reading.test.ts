import { expect, test } from "vitest";
import { read } from "./reading";

const query = "subscription Progress($id: ID!) { requestProgress(id: $id) { status } }";

test("the name of the former tab's operation is none of this tab", () => {
  const { operation, documentAST } = read({ query, variables: { id: "x" }, operationName: "Requests" });

  expect(operation).toEqual({ query, variables: { id: "x" } });
  expect(documentAST?.definitions[0]).toMatchObject({ operation: "subscription" });
});

test("one of several operations stays chosen", () => {
  const several = { query: "query A { __typename } query B { __typename }", operationName: "B" };

  expect(read(several).operation).toEqual(several);
});

test("what is no GraphQL goes as it stands to the service, which says what is wrong", () => {
  const broken = { query: "{", operationName: "A" };

  expect(read(broken)).toEqual({ operation: broken });
});
