import { useEffect, useRef } from "preact/hooks";
import type { Request } from "../api/types";
import { formatBytes, formatSaving, pluralize, savedShare } from "../format";
import { announce } from "../parts/announcer";
import { Badge } from "../parts/badge";
import { Timestamp } from "../parts/timestamp";
import { ProgressBar } from "../parts/progress-bar";
import { useWatch } from "../progress/watch";
import { requestHref, toSameOrigin } from "../route";
import { Counts, Timing } from "./stats";
import { describeStatus, isFinal } from "./status";

/** One request in the list: with live progress while it runs, one line afterwards. */
export function RequestCard({ id }: { id: string }) {
  const request = useWatch(id);
  const wasRunning = useRef(false);
  const final = request !== undefined && isFinal(request);
  useEffect(() => {
    if (request && final && wasRunning.current) announce(`${request.csvFilename}: ${describeStatus(request.status)[1]}.`);
    wasRunning.current = request !== undefined && !final;
  }, [final]);
  if (!request) return null;
  const part = savedShare(request.inputBytes, request.outputBytes);
  return (
    <li class={final ? "card request" : "card request running"}>
      <div class="line">
        <h3>
          <a href={requestHref(id)}>
            <bdi>{request.csvFilename}</bdi>
          </a>
        </h3>
        <Badge status={request.status} />
      </div>
      {!final && <ProgressBar request={request} />}
      {final ? <FinishedFacts request={request} /> : <Counts request={request} />}
      {!final && (
        <p class="facts">
          <span>
            <Timing request={request} />
          </span>
          {part !== null && (
            <span>
              {formatBytes(request.inputBytes)} → {formatBytes(request.outputBytes)}, <b class="gain">{formatSaving(part)}</b>
            </span>
          )}
        </p>
      )}
    </li>
  );
}

function FinishedFacts({ request }: { request: Request }) {
  const part = savedShare(request.inputBytes, request.outputBytes);
  return (
    <p class="facts">
      <span>
        <Timestamp at={request.createdAt} /> · {pluralize(request.totalImages, "image")}
        {request.failedImages > 0 && `, ${pluralize(request.failedImages, "failed", "failed")}`}
        {part !== null && (
          <>
            {" "}
            · <b class="gain">{formatSaving(part)}</b>
          </>
        )}
      </span>
      {request.outputCsvUrl && (
        <a href={toSameOrigin(request.outputCsvUrl)} download aria-label={`Download the output CSV of ${request.csvFilename}`}>
          Output CSV
        </a>
      )}
    </p>
  );
}
