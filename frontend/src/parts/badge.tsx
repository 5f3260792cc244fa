import type { RequestStatus } from "../api/types";
import { look } from "../requests/status";

export function Badge({ status }: { status: RequestStatus }) {
  const [tone, words] = look(status);
  return <span class={`badge ${tone}`}>{words}</span>;
}
