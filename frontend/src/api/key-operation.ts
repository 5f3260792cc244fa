import type { ResultOf, VariablesOf } from "gql.tada";
import { graphql } from "./graphql";

export const ApiKeys = graphql(`
  query ApiKeys($after: String) {
    apiKeys(first: 50, after: $after) {
      nodes { id publicId name scopes state createdAt expiresAt lastUsedAt }
      pageInfo { hasNextPage endCursor }
    }
  }`);

export const CreateApiKey = graphql(`
  mutation CreateApiKey($input: CreateApiKeyInput!) {
    result: createApiKey(input: $input) {
      __typename
      ... on CreateApiKeySuccess { secret }
      ... on UserError { message }
    }
  }`);

export const RotateApiKey = graphql(`
  mutation RotateApiKey($input: RotateApiKeyInput!) {
    result: rotateApiKey(input: $input) {
      __typename
      ... on RotateApiKeySuccess { secret }
      ... on UserError { message }
    }
  }`);

export const RevokeApiKey = graphql(`
  mutation RevokeApiKey($input: RevokeApiKeyInput!) {
    result: revokeApiKey(input: $input) { __typename ... on UserError { message } }
  }`);

export type ApiKey = ResultOf<typeof ApiKeys>["apiKeys"]["nodes"][number];
export type Scope = VariablesOf<typeof CreateApiKey>["input"]["scopes"] extends readonly (infer Each)[] | null | undefined ? Each : never;
