import { buildSchema, parse, validate } from "graphql";
import { describe, expect, it } from "vitest";
import { operationText, type Operation } from "./graphql";
import schemaText from "../../../schema.graphql?raw";
import * as keyOperations from "./key-operation";
import * as operations from "./operation";
import * as webhookOperations from "./webhook-operation";

const schema = buildSchema(schemaText);

describe("every operation is valid against schema.graphql", () => {
  it.each(Object.entries({ ...operations, ...keyOperations, ...webhookOperations }))("%s", (_, operation: Operation<any, any>) => {
    expect(validate(schema, parse(operationText(operation)))).toEqual([]);
  });
});
