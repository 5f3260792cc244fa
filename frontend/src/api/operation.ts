import { ImageFields, ProductPageFields, RequestFields, RequestPageFields } from "./fragments";
import { graphql } from "./graphql";

export const Requests = graphql(
  `
  query Requests($first: Int!, $after: String, $filter: RequestFilterInput) {
    requests(first: $first, after: $after, filter: $filter) { ...RequestPageFields }
    limits { maxUploadBytes }
  }`,
  [RequestPageFields],
);

export const RequestsChanged = graphql(
  `
  subscription RequestsChanged($first: Int!, $filter: RequestFilterInput) {
    requestsChanged(first: $first, filter: $filter) { ...RequestPageFields }
  }`,
  [RequestPageFields],
);

export const OneRequest = graphql(
  `
  query OneRequest($id: ID!) { request(id: $id) { ...RequestFields } }`,
  [RequestFields],
);

/** A query of its own: warnings never change, and `RequestFields` is sent with every progress event. */
export const Warnings = graphql(`
  query Warnings($id: ID!) { request(id: $id) { warnings { row column message } } }`);

/** A query of its own, since the counts are not part of a progress event. */
export const Statistics = graphql(`
  query Statistics($id: ID!) {
    request(id: $id) { statistics { byError { code images } byHost { host images failed throttled } } }
  }`);

export const Products = graphql(
  `
  query Products(
    $id: ID!, $status: ProductStatus, $nameContains: String
    $first: Int, $after: String, $last: Int, $before: String
  ) {
    request(id: $id) {
      products(
        status: $status, nameContains: $nameContains
        first: $first, after: $after, last: $last, before: $before
      ) {
        ...ProductPageFields
        totalCount
      }
    }
  }`,
  [ProductPageFields],
);

export const LeastSimilar = graphql(
  `
  query LeastSimilar($id: ID!, $first: Int!, $after: String) {
    request(id: $id) {
      imagesBySimilarity(first: $first, after: $after) {
        nodes { ...ImageFields }
        pageInfo { hasNextPage endCursor }
      }
    }
  }`,
  [ImageFields],
);

export const Changes = graphql(`
  query Changes($id: ID!) {
    request(id: $id) { changes { sinceId sinceCreatedAt productCounts { changed added gone unchanged } } }
  }`);

export const ChangedProducts = graphql(
  `
  query ChangedProducts(
    $id: ID!, $kind: ChangeKind!
    $first: Int, $after: String, $last: Int, $before: String
  ) {
    request(id: $id) {
      changes {
        products(kind: $kind, first: $first, after: $after, last: $last, before: $before) { ...ProductPageFields }
      }
    }
  }`,
  [ProductPageFields],
);

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
      ... on IdempotencyKeyReused { message }
    }
  }`,
  [RequestFields],
);

export const PreviewCsv = graphql(`
  query PreviewCsv($input: UploadCsvInput!) {
    previewCsv(input: $input) {
      __typename
      ... on CsvPreview { profile columns rows sheet sheets }
      ... on CsvInvalid { message totalErrors errors { row column message } }
      ... on UploadTooLarge { message limitBytes }
    }
  }`);

export const EstimateCsv = graphql(`
  query EstimateCsv($input: UploadCsvInput!) {
    estimateCsv(input: $input) {
      __typename
      ... on CsvEstimate {
        totalImages measuredImages inputBytes savedPercent savedPercentLow savedPercentHigh seconds
        failures { code images message exampleUrl }
      }
      ... on CsvInvalid { message totalErrors errors { row column message } }
      ... on UploadTooLarge { message limitBytes }
      ... on EstimateUnavailable { message }
    }
  }`);

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
