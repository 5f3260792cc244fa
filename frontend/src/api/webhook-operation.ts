import type { ResultOf } from "gql.tada";
import { graphql } from "./graphql";

export const ViewerScopes = graphql(`
  query ViewerScopes { viewer { scopes } }`);

export const WebhookEndpoints = graphql(`
  query WebhookEndpoints {
    webhookEndpoints(first: 100) { nodes { id url eventTypes enabled disabledReason failingSince } }
  }`);

export const WebhookDeliveries = graphql(`
  query WebhookDeliveries($endpointId: ID!) {
    webhookDeliveries(endpointId: $endpointId, first: 10) {
      nodes { id eventType status attempts lastHttpStatus nextAttemptAt occurredAt log { error } }
    }
  }`);

export const CreateWebhookEndpoint = graphql(`
  mutation CreateWebhookEndpoint($input: CreateWebhookEndpointInput!) {
    result: createWebhookEndpoint(input: $input) {
      __typename
      ... on CreateWebhookEndpointSuccess { secret }
      ... on UserError { message }
    }
  }`);

export const RotateWebhookSecret = graphql(`
  mutation RotateWebhookSecret($input: RotateWebhookSecretInput!) {
    result: rotateWebhookSecret(input: $input) {
      __typename
      ... on RotateWebhookSecretSuccess { secret }
      ... on UserError { message }
    }
  }`);

export const EnableWebhookEndpoint = graphql(`
  mutation EnableWebhookEndpoint($input: WebhookEndpointInput!) {
    result: enableWebhookEndpoint(input: $input) { __typename ... on UserError { message } }
  }`);

export const DisableWebhookEndpoint = graphql(`
  mutation DisableWebhookEndpoint($input: WebhookEndpointInput!) {
    result: disableWebhookEndpoint(input: $input) { __typename ... on UserError { message } }
  }`);

export const TestWebhookEndpoint = graphql(`
  mutation TestWebhookEndpoint($input: WebhookEndpointInput!) {
    result: testWebhookEndpoint(input: $input) { __typename ... on UserError { message } }
  }`);

export type WebhookEndpoint = ResultOf<typeof WebhookEndpoints>["webhookEndpoints"]["nodes"][number];
export type WebhookEventType = WebhookEndpoint["eventTypes"][number];
export type WebhookEndpointDelivery = ResultOf<typeof WebhookDeliveries>["webhookDeliveries"]["nodes"][number];
