import { graphql } from "./graphql";

export const ImageFields = graphql(`
  fragment ImageFields on Image {
    id inputUrl outputUrl sourceUrl status outcome inputBytes outputBytes format width height similarity
    outputs { name url outputBytes }
    error { code message }
  }`);

export const RequestFields = graphql(`
  fragment RequestFields on Request {
    id status priority sequence csvFilename profile skippedRows
    createdAt startedAt completedAt estimatedCompletionAt
    options { quality scale format }
    totalProducts processedProducts failedProducts
    totalImages processedImages failedImages cancelledImages keptImages reusedImages
    progressPercent imagesPerSecond inputBytes outputBytes outputCsvUrl partialCsvUrl reportCsvUrl archiveUrl
    failure { code message }
    webhook { url status attempts lastHttpStatus nextAttemptAt }
  }`);

export const RequestPageFields = graphql(
  `
  fragment RequestPageFields on RequestConnection {
    edges { node { ...RequestFields } }
    pageInfo { hasNextPage endCursor }
    totalCount
  }`,
  [RequestFields],
);

export const ProductPageFields = graphql(
  `
  fragment ProductPageFields on ProductConnection {
    edges { node { id serialNumber productName status images { ...ImageFields } } }
    pageInfo { startCursor endCursor hasPreviousPage hasNextPage }
  }`,
  [ImageFields],
);
