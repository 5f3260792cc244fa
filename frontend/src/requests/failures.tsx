import { useEffect, useState } from "preact/hooks";
import { RetryFailedImages, Statistics as StatisticsOf } from "../api/operation";
import { query } from "../api/query";
import type { ImageErrorCode, Request, Statistics } from "../api/types";
import { formatCount, pluralize } from "../format";
import { useClock } from "../parts/use-clock";
import { isFinal } from "./status";
import { useChange } from "./use-change";

//: The counts of a running request change with every image.
const RELOAD_MS = 3_000;
const MAX_HOSTS = 8;

/** Causes in the order of the schema. */
const CAUSES: Record<ImageErrorCode, string> = {
  UNREACHABLE: "Host not reachable",
  HTTP_STATUS: "Dead link or access denied",
  TIMEOUT: "No answer in time",
  HOST_OVERLOADED: "Host overloaded",
  TOO_MANY_REDIRECTS: "Too many redirects",
  FORBIDDEN_ADDRESS: "Network or port not allowed",
  NOT_AN_IMAGE: "Not an image",
  UNSUPPORTED_FORMAT: "Format not supported",
  TOO_LARGE: "Too large",
  CORRUPT: "Damaged image",
  OPTIONS_IMPOSSIBLE: "Options do not fit the image",
  WORKER_CRASHED: "Crashed the worker",
  INTERNAL: "Internal error",
};

export const describeCause = (code: string): string => (CAUSES as Record<string, string>)[code] ?? code;

/** The name of a host without the port of its scheme. */
export const describeHost = (host: string): string => host.replace(/:(80|443)$/, "");

/** Failed images by cause and by host. Each group can be retried once the request is final. */
export function Failures({ request }: { request: Request }) {
  const statistics = useStatistics(request);
  const { busy, error, change } = useChange(request);
  const hosts = statistics?.byHost.filter(({ failed }) => failed > 0) ?? [];
  if (!statistics?.byError.length) return null;
  const retry = isFinal(request)
    ? (which: { errorCode?: ImageErrorCode; host?: string }) => change(RetryFailedImages, "Retrying these images.", which)
    : null;
  return (
    <section class="card failures" aria-labelledby="failures-title">
      <h2 id="failures-title">Why {pluralize(request.failedImages, "image")} failed</h2>
      <div class="groups">
        <Group title="By cause">
          {statistics.byError.map(({ code, images }) => (
            <Row key={code} name={describeCause(code)} count={images} busy={busy} retry={retry && (() => retry({ errorCode: code }))} />
          ))}
        </Group>
        <Group title="By host">
          {hosts.slice(0, MAX_HOSTS).map(({ host, images, failed, throttled }) => (
            <Row
              key={host}
              name={describeHost(host)}
              count={failed}
              note={`of ${formatCount(images)}${throttled > 0 ? ", asked us to slow down" : ""}`}
              busy={busy}
              retry={retry && (() => retry({ host }))}
            />
          ))}
          {hosts.length > MAX_HOSTS && <li class="remark">The report lists the other hosts.</li>}
        </Group>
      </div>
      {error && (
        <p class="error" role="alert">
          {error}
        </p>
      )}
    </section>
  );
}

function Group({ title, children }: { title: string; children: preact.ComponentChildren }) {
  return (
    <div>
      <h3>{title}</h3>
      <ul>{children}</ul>
    </div>
  );
}

function Row(props: { name: string; count: number; note?: string; busy: boolean; retry: (() => void) | null }) {
  return (
    <li>
      <b>{formatCount(props.count)}</b>
      <span class="name">
        {props.name} {props.note && <small>{props.note}</small>}
      </span>
      {props.retry && (
        <button class="small" disabled={props.busy} onClick={props.retry} aria-label={`Retry these: ${props.name}`}>
          Retry these
        </button>
      )}
    </li>
  );
}

/** Loaded again with every change of a final request, and every few seconds while it runs. */
function useStatistics(request: Request): Statistics | null {
  const [statistics, setStatistics] = useState<Statistics | null>(null);
  const now = useClock(RELOAD_MS);
  const version = isFinal(request) ? request.sequence : now;
  useEffect(() => {
    let isCurrent = true;
    query(StatisticsOf, { id: request.id }).then(
      (answer) => isCurrent && answer.request && setStatistics(answer.request.statistics),
      // The page reports a lost connection elsewhere.
      () => {},
    );
    return () => {
      isCurrent = false;
    };
  }, [request.id, version]);
  return statistics;
}
