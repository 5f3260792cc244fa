import type { Request, RequestStatus } from "../api/types";

export type Tone = "busy" | "good" | "warn" | "bad" | "off";

const looks: Record<RequestStatus, [Tone, string]> = {
  PENDING: ["off", "Waiting"],
  PROCESSING: ["busy", "In progress"],
  COMPLETED: ["good", "Done"],
  COMPLETED_WITH_ERRORS: ["warn", "Done, some failed"],
  FAILED: ["bad", "Failed"],
  CANCELLED: ["off", "Cancelled"],
};

/** Colour and words of a status; the server may know more statuses than this page. */
export function look(status: RequestStatus): [Tone, string] {
  return looks[status] ?? ["off", status];
}

export function isFinal(request: Request): boolean {
  return request.status !== "PENDING" && request.status !== "PROCESSING";
}
