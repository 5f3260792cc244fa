import { formatAge, formatDate } from "../format";
import { useClock } from "./use-clock";

export function Timestamp({ at }: { at: string }) {
  const now = useClock(30_000);
  return (
    <time dateTime={at} title={formatDate(at)}>
      {formatAge(at, now)}
    </time>
  );
}
