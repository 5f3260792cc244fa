// Turns the exported schema into the form in which the type checker infers what every operation takes and gives.
import { minifyIntrospection, outputIntrospectionFile } from "@gql.tada/internal";
import { buildSchema, introspectionFromSchema } from "graphql";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";

const schema = buildSchema(readFileSync(new URL("../schema.graphql", import.meta.url), "utf8"));
const introspection = minifyIntrospection(introspectionFromSchema(schema));
// Not among the sources: it follows from the schema, and is made anew before each check.
mkdirSync(new URL("node_modules/.schema/", import.meta.url), { recursive: true });
writeFileSync(
  new URL("node_modules/.schema/introspection.d.ts", import.meta.url),
  outputIntrospectionFile(introspection, { fileType: ".d.ts", shouldPreprocess: true }),
);
