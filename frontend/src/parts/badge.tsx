import type { RequestStatus } from "../api/types";
import { describeStatus } from "../requests/status";

export function Badge({ status }: { status: RequestStatus }) {
  const [tone, label] = describeStatus(status);
  return <span class={`badge ${tone}`}>{label}</span>;
}
