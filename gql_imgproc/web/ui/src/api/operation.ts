import type { Connection, Product, ProductStatus, Request, UploadInput, UploadResult, UserError } from "./types";

/** An operation and, for the type checker only, what it takes and gives. */
export interface Operation<Data, Variables> {
  text: string;
  _?: (variables: Variables) => Data;
}

const operation = <Data, Variables>(text: string): Operation<Data, Variables> => ({ text });

const requestFields = /* GraphQL */ `
  fragment RequestFields on Request {
    id status priority sequence csvFilename
    createdAt startedAt completedAt estimatedCompletionAt
    options { quality scale format }
    totalProducts processedProducts failedProducts
    totalImages processedImages failedImages cancelledImages keptImages
    progressPercent imagesPerSecond inputBytes outputBytes outputCsvUrl
    failure { code message }
    webhook { url status attempts lastHttpStatus nextAttemptAt }
  }`;

export const Requests = operation<
  { requests: Connection<Request>; limits: { maxUploadBytes: number } },
  { first: number; after: string | null }
>(/* GraphQL */ `
  query Requests($first: Int!, $after: String) {
    requests(first: $first, after: $after) {
      edges { node { ...RequestFields } }
      pageInfo { hasNextPage endCursor }
      totalCount
    }
    limits { maxUploadBytes }
  }
  ${requestFields}`);

export const OneRequest = operation<{ request: Request | null }, { id: string }>(/* GraphQL */ `
  query OneRequest($id: ID!) { request(id: $id) { ...RequestFields } }
  ${requestFields}`);

export const Products = operation<
  { request: { products: Connection<Product> } | null },
  { id: string; first: number; after: string | null; status: ProductStatus | null }
>(/* GraphQL */ `
  query Products($id: ID!, $first: Int!, $after: String, $status: ProductStatus) {
    request(id: $id) {
      products(first: $first, after: $after, status: $status) {
        edges {
          node {
            id serialNumber productName status
            images {
              id inputUrl outputUrl status outcome inputBytes outputBytes format width height
              error { code message }
            }
          }
        }
        pageInfo { hasNextPage endCursor }
        totalCount
      }
    }
  }`);

export const RequestProgress = operation<{ requestProgress: Request }, { id: string }>(/* GraphQL */ `
  subscription RequestProgress($id: ID!) { requestProgress(id: $id) { ...RequestFields } }
  ${requestFields}`);

export const UploadCsv = operation<
  { uploadCsv: UploadResult },
  { input: UploadInput & { file: null } }
>(/* GraphQL */ `
  mutation UploadCsv($input: UploadCsvInput!) {
    uploadCsv(input: $input) {
      __typename
      ... on UploadCsvSuccess { replayed request { ...RequestFields } }
      ... on UserError { message path }
      ... on CsvInvalid { totalErrors errors { row column message } }
      ... on UploadTooLarge { limitBytes }
      ... on QuotaExceeded { retryAt }
    }
  }
  ${requestFields}`);

type Change = { result: { __typename: string; request: Request; deletedId: string } & UserError };
type OfRequest = { input: { id: string } };

export const CancelRequest = operation<Change, OfRequest>(/* GraphQL */ `
  mutation CancelRequest($input: CancelRequestInput!) {
    result: cancelRequest(input: $input) {
      __typename
      ... on CancelRequestSuccess { request { ...RequestFields } }
      ... on UserError { message path }
    }
  }
  ${requestFields}`);

export const RetryFailedImages = operation<Change, OfRequest>(/* GraphQL */ `
  mutation RetryFailedImages($input: RetryFailedImagesInput!) {
    result: retryFailedImages(input: $input) {
      __typename
      ... on RetryFailedImagesSuccess { request { ...RequestFields } }
      ... on UserError { message path }
    }
  }
  ${requestFields}`);

export const ResendWebhook = operation<Change, OfRequest>(/* GraphQL */ `
  mutation ResendWebhook($input: ResendWebhookInput!) {
    result: resendWebhook(input: $input) {
      __typename
      ... on ResendWebhookSuccess { request { ...RequestFields } }
      ... on UserError { message path }
    }
  }
  ${requestFields}`);

export const DeleteRequest = operation<Change, OfRequest>(/* GraphQL */ `
  mutation DeleteRequest($input: DeleteRequestInput!) {
    result: deleteRequest(input: $input) {
      __typename
      ... on DeleteRequestSuccess { deletedId }
      ... on UserError { message path }
    }
  }`);
