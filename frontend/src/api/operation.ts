import { RequestFields } from "./fragments";
import { graphql } from "./graphql";

export const Requests = graphql(
  `
  query Requests($first: Int!, $after: String) {
    requests(first: $first, after: $after) {
      edges { node { ...RequestFields } }
      pageInfo { hasNextPage endCursor }
      totalCount
    }
    limits { maxUploadBytes }
  }`,
  [RequestFields],
);

export const OneRequest = graphql(
  `
  query OneRequest($id: ID!) { request(id: $id) { ...RequestFields } }`,
  [RequestFields],
);

/** A query of its own: warnings never change, and `RequestFields` is sent with every progress event. */
export const Warnings = graphql(`
  query Warnings($id: ID!) { request(id: $id) { warnings { row column message } } }`);

export const Products = graphql(`
  query Products(
    $id: ID!, $status: ProductStatus, $nameContains: String
    $first: Int, $after: String, $last: Int, $before: String
  ) {
    request(id: $id) {
      products(
        status: $status, nameContains: $nameContains
        first: $first, after: $after, last: $last, before: $before
      ) {
        edges {
          node {
            id serialNumber productName status
            images {
              id inputUrl outputUrl sourceUrl status outcome inputBytes outputBytes format width height
              error { code message }
            }
          }
        }
        pageInfo { startCursor endCursor hasPreviousPage hasNextPage }
        totalCount
      }
    }
  }`);

export const RequestProgress = graphql(
  `
  subscription RequestProgress($id: ID!) { requestProgress(id: $id) { ...RequestFields } }`,
  [RequestFields],
);

export const UploadCsv = graphql(
  `
  mutation UploadCsv($input: UploadCsvInput!) {
    uploadCsv(input: $input) {
      __typename
      ... on UploadCsvSuccess { replayed request { ...RequestFields } }
      ... on CsvInvalid { message totalErrors errors { row column message } }
      ... on UploadTooLarge { message limitBytes }
      ... on WebhookUrlInvalid { message }
      ... on QuotaExceeded { message retryAt }
    }
  }`,
  [RequestFields],
);

export const CancelRequest = graphql(
  `
  mutation CancelRequest($input: CancelRequestInput!) {
    result: cancelRequest(input: $input) {
      __typename
      ... on CancelRequestSuccess { request { ...RequestFields } }
      ... on UserError { message }
    }
  }`,
  [RequestFields],
);

export const RetryFailedImages = graphql(
  `
  mutation RetryFailedImages($input: RetryFailedImagesInput!) {
    result: retryFailedImages(input: $input) {
      __typename
      ... on RetryFailedImagesSuccess { request { ...RequestFields } }
      ... on UserError { message }
    }
  }`,
  [RequestFields],
);

export const ResendWebhook = graphql(
  `
  mutation ResendWebhook($input: ResendWebhookInput!) {
    result: resendWebhook(input: $input) {
      __typename
      ... on ResendWebhookSuccess { request { ...RequestFields } }
      ... on UserError { message }
    }
  }`,
  [RequestFields],
);

export const DeleteRequest = graphql(`
  mutation DeleteRequest($input: DeleteRequestInput!) {
    result: deleteRequest(input: $input) {
      __typename
      ... on DeleteRequestSuccess { deletedId }
      ... on UserError { message }
    }
  }`);
