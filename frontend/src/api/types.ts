// What the operations select, by the names that the page uses.
import type { ResultOf, VariablesOf } from "gql.tada";
import { graphql } from "./graphql";
import type { Products, UploadCsv } from "./operation";

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

export type Request = ResultOf<typeof RequestFields>;
export type RequestStatus = Request["status"];
export type Priority = Request["priority"];
export type OutputFormat = Request["options"]["format"];
export type Webhook = NonNullable<Request["webhook"]>;
export type WebhookStatus = Webhook["status"];

export type Product = NonNullable<ResultOf<typeof Products>["request"]>["products"]["edges"][number]["node"];
export type ProductStatus = NonNullable<VariablesOf<typeof Products>["status"]>;
export type Image = Product["images"][number];

export type UploadResult = ResultOf<typeof UploadCsv>["uploadCsv"];
export type Accepted = Extract<UploadResult, { __typename: "UploadCsvSuccess" }>;
export type Refused = Exclude<UploadResult, Accepted>;
export type CsvIssue = Extract<Refused, { __typename: "CsvInvalid" }>["errors"][number];
export type UploadInput = Omit<VariablesOf<typeof UploadCsv>["input"], "file">;
