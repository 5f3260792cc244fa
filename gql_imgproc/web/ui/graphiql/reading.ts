import { Kind, parse, type DocumentNode } from "graphql";
import type { Operation } from "./upload";

/** What stands in the tab, read now: GraphiQL reads it a moment late, and has the former tab's until then. */
export function read(operation: Operation): { operation: Operation; documentAST?: DocumentNode } {
  try {
    const documentAST = parse(operation.query);
    const names = documentAST.definitions.map((node) => node.kind === Kind.OPERATION_DEFINITION && node.name?.value);
    const { operationName, ...others } = operation;
    return { operation: operationName && names.includes(operationName) ? operation : others, documentAST };
  } catch {
    // The service says what is wrong with it.
    return { operation };
  }
}
