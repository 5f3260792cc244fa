// Converts schema.graphql into types, from which TypeScript infers the data and variables of each operation.
import { minifyIntrospection, outputIntrospectionFile } from "@gql.tada/internal";
import { buildSchema, introspectionFromSchema } from "graphql";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";

const schema = buildSchema(readFileSync(new URL("../schema.graphql", import.meta.url), "utf8"));
const introspection = minifyIntrospection(introspectionFromSchema(schema));
// Written to node_modules, since it is generated before each check.
mkdirSync(new URL("node_modules/.schema/", import.meta.url), { recursive: true });
writeFileSync(
  new URL("node_modules/.schema/introspection.d.ts", import.meta.url),
  outputIntrospectionFile(introspection, { fileType: ".d.ts", shouldPreprocess: true }),
);
