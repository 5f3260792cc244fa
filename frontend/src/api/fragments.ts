import { graphql } from "./graphql";

export const RequestFields = graphql(`
  fragment RequestFields on Request {
    id status priority sequence csvFilename
    createdAt startedAt completedAt estimatedCompletionAt
    options { quality scale format }
    totalProducts processedProducts failedProducts
    totalImages processedImages failedImages cancelledImages keptImages
    progressPercent imagesPerSecond inputBytes outputBytes outputCsvUrl
    failure { code message }
    webhook { url status attempts lastHttpStatus nextAttemptAt }
  }`);
