import type { Request, RequestStatus } from "../api/types";

export type Tone = "busy" | "good" | "warn" | "bad" | "off";

const DESCRIPTIONS: Record<RequestStatus, [Tone, string]> = {
  PENDING: ["off", "Waiting"],
  PROCESSING: ["busy", "In progress"],
  COMPLETED: ["good", "Done"],
  COMPLETED_WITH_ERRORS: ["warn", "Done, some failed"],
  FAILED: ["bad", "Failed"],
  CANCELLED: ["off", "Cancelled"],
};

/** Colour and label of a status. A newer server may have statuses that this page does not know. */
export function describeStatus(status: RequestStatus): [Tone, string] {
  return DESCRIPTIONS[status] ?? ["off", status];
}

export function isFinal(request: Request): boolean {
  return request.status !== "PENDING" && request.status !== "PROCESSING";
}
