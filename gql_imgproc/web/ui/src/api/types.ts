// What the operations of operation.ts select, by hand; operation.test.ts checks the operations against the schema.

export type RequestStatus = "PENDING" | "PROCESSING" | "COMPLETED" | "COMPLETED_WITH_ERRORS" | "FAILED" | "CANCELLED";
export type ProductStatus = RequestStatus;
export type ImageStatus = "PENDING" | "COMPLETED" | "FAILED" | "CANCELLED";
export type WebhookStatus = "PENDING" | "DELIVERED" | "RETRYING" | "FAILED";
export type OutputFormat = "ORIGINAL" | "JPEG" | "PNG" | "WEBP" | "AVIF";
export type Priority = "HIGH" | "NORMAL" | "LOW";

export interface Webhook {
  url: string;
  status: WebhookStatus;
  attempts: number;
  lastHttpStatus: number | null;
  nextAttemptAt: string | null;
}

export interface Request {
  id: string;
  status: RequestStatus;
  priority: Priority;
  sequence: number;
  createdAt: string;
  startedAt: string | null;
  completedAt: string | null;
  estimatedCompletionAt: string | null;
  csvFilename: string;
  options: { quality: number; scale: number; format: OutputFormat };
  totalProducts: number;
  processedProducts: number;
  failedProducts: number;
  totalImages: number;
  processedImages: number;
  failedImages: number;
  cancelledImages: number;
  keptImages: number;
  progressPercent: number;
  imagesPerSecond: number | null;
  inputBytes: number;
  outputBytes: number;
  outputCsvUrl: string | null;
  failure: { code: string; message: string } | null;
  webhook: Webhook | null;
}

export interface Image {
  id: string;
  inputUrl: string;
  outputUrl: string | null;
  status: ImageStatus;
  outcome: "COMPRESSED" | "KEPT" | null;
  error: { code: string; message: string } | null;
  inputBytes: number | null;
  outputBytes: number | null;
  format: string | null;
  width: number | null;
  height: number | null;
}

export interface Product {
  id: string;
  serialNumber: string;
  productName: string;
  status: ProductStatus;
  images: Image[];
}

export interface Connection<T> {
  edges: { node: T }[];
  pageInfo: { hasNextPage: boolean; endCursor: string | null };
  totalCount: number;
}

export interface CsvIssue {
  row: number | null;
  column: string | null;
  message: string;
}

/** A member of a result union that is no success. */
export interface UserError {
  __typename: string;
  message: string;
  path: string[];
}

export type UploadResult =
  | { __typename: "UploadCsvSuccess"; request: Request; replayed: boolean }
  | (UserError & { __typename: "CsvInvalid"; errors: CsvIssue[]; totalErrors: number })
  | (UserError & { __typename: "UploadTooLarge"; limitBytes: number })
  | (UserError & { __typename: "QuotaExceeded"; retryAt: string | null })
  | (UserError & { __typename: "WebhookUrlInvalid" });

export interface UploadInput {
  webhookUrl: string | null;
  priority: Priority;
  options: { quality: number; scale: number; format: OutputFormat };
  idempotencyKey: string;
}
