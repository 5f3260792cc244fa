import type { initGraphQLTada, TadaDocumentNode } from "gql.tada";
// Made from schema.graphql before each check; see types.mjs.
import type { introspection } from "schema";

type Tada = ReturnType<
  typeof initGraphQLTada<{
    introspection: introspection;
    disableMasking: true;
    scalars: { ByteCount: number; DateTime: string; URL: string; Upload: null };
  }>
>;

/** What goes in and comes out is inferred from the text and the schema. */
export type Operation<Data, Variables> = TadaDocumentNode<Data, Variables>;

/** An operation with its fragments. At run time it is the text itself: nothing is parsed, and gql.tada stays behind. */
export const graphql = ((text: string, fragments: string[] = []) => [text, ...fragments].join("\n")) as unknown as Tada;

/** The text of an operation, as the server wants it. */
export const textOf = <Data, Variables>(operation: Operation<Data, Variables>): string => operation as unknown as string;
