import { ago, date } from "../format";
import { useClock } from "./clock";

export function Moment({ at }: { at: string }) {
  const now = useClock(30_000);
  return (
    <time dateTime={at} title={date(at)}>
      {ago(at, now)}
    </time>
  );
}
