import type { initGraphQLTada, TadaDocumentNode } from "gql.tada";
// Generated from schema.graphql before each check; see types.mjs.
import type { introspection } from "schema";

type Tada = ReturnType<
  typeof initGraphQLTada<{
    introspection: introspection;
    disableMasking: true;
    scalars: { ByteCount: number; DateTime: string; URL: string; Upload: null };
  }>
>;

/** The types of data and variables are inferred from the operation and the schema. */
export type Operation<Data, Variables> = TadaDocumentNode<Data, Variables>;

/** An operation with its fragments. At run time it is plain text: nothing is parsed, and gql.tada is not in the bundle. */
export const graphql = ((text: string, fragments: string[] = []) => [text, ...fragments].join("\n")) as unknown as Tada;

/** The text of an operation, to send to the server. */
export const operationText = <Data, Variables>(operation: Operation<Data, Variables>): string => operation as unknown as string;
