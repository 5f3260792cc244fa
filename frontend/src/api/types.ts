// The types of the fields that the operations select.
import type { ResultOf, VariablesOf } from "gql.tada";
import type { ImageFields, RequestFields, RequestPageFields } from "./fragments";
import type { ChangedProducts, Changes as ChangesOf, EstimateCsv, PreviewCsv, Products, Requests, Statistics as StatisticsOf, UploadCsv } from "./operation";

export type Request = ResultOf<typeof RequestFields>;
export type RequestPage = ResultOf<typeof RequestPageFields>;
export type RequestFilter = NonNullable<VariablesOf<typeof Requests>["filter"]>;
export type RequestStatus = Request["status"];
export type Priority = Request["priority"];
export type OutputFormat = Request["options"]["format"];
export type Webhook = NonNullable<Request["webhook"]>;
export type WebhookStatus = Webhook["status"];

export type Statistics = NonNullable<ResultOf<typeof StatisticsOf>["request"]>["statistics"];
export type ImageErrorCode = Statistics["byError"][number]["code"];

export type Product = NonNullable<ResultOf<typeof Products>["request"]>["products"]["edges"][number]["node"];
export type ProductStatus = NonNullable<VariablesOf<typeof Products>["status"]>;
export type Image = ResultOf<typeof ImageFields>;
export type Changes = NonNullable<NonNullable<ResultOf<typeof ChangesOf>["request"]>["changes"]>;
export type ChangeKind = VariablesOf<typeof ChangedProducts>["kind"];

export type UploadResult = ResultOf<typeof UploadCsv>["uploadCsv"];
export type Accepted = Extract<UploadResult, { __typename: "UploadCsvSuccess" }>;
export type UploadError = Exclude<UploadResult, Accepted>;
export type CsvIssue = Extract<UploadError, { __typename: "CsvInvalid" }>["errors"][number];
export type Preview = ResultOf<typeof PreviewCsv>["previewCsv"];
export type CsvPreview = Extract<Preview, { __typename: "CsvPreview" }>;
/** Also the answer when no worker could measure the sample. */
export type Estimate = Extract<ResultOf<typeof EstimateCsv>["estimateCsv"], { __typename: "CsvEstimate" | "EstimateUnavailable" }>;
export type CsvEstimate = Extract<Estimate, { __typename: "CsvEstimate" }>;
export type UploadInput = Omit<VariablesOf<typeof UploadCsv>["input"], "file">;
