import { useEffect, useRef } from "preact/hooks";
import type { Request } from "../api/types";
import { bytes, gain, plural, saved } from "../format";
import { announce } from "../parts/announcer";
import { Badge } from "../parts/badge";
import { Moment } from "../parts/moment";
import { ProgressBar } from "../parts/progress-bar";
import { useWatch } from "../progress/watch";
import { here, hrefOf } from "../route";
import { Counts, Pace } from "./figures";
import { isFinal, look } from "./status";

/** One request in the list: live while it runs, one quiet line afterwards. */
export function RequestCard({ id }: { id: string }) {
  const request = useWatch(id);
  const wasRunning = useRef(false);
  const final = request !== undefined && isFinal(request);
  useEffect(() => {
    if (request && final && wasRunning.current) announce(`${request.csvFilename}: ${look(request.status)[1]}.`);
    wasRunning.current = request !== undefined && !final;
  }, [final]);
  if (!request) return null;
  const part = saved(request.inputBytes, request.outputBytes);
  return (
    <li class={final ? "card request" : "card request running"}>
      <div class="line">
        <h3>
          <a href={hrefOf(id)}>
            <bdi>{request.csvFilename}</bdi>
          </a>
        </h3>
        <Badge status={request.status} />
      </div>
      {!final && <ProgressBar request={request} />}
      {final ? <Past request={request} /> : <Counts request={request} />}
      {!final && (
        <p class="facts">
          <span>
            <Pace request={request} />
          </span>
          {part !== null && (
            <span>
              {bytes(request.inputBytes)} → {bytes(request.outputBytes)}, <b class="gain">{gain(part)}</b>
            </span>
          )}
        </p>
      )}
    </li>
  );
}

function Past({ request }: { request: Request }) {
  const part = saved(request.inputBytes, request.outputBytes);
  return (
    <p class="facts">
      <span>
        <Moment at={request.createdAt} /> · {plural(request.totalImages, "picture")}
        {request.failedImages > 0 && `, ${plural(request.failedImages, "failed", "failed")}`}
        {part !== null && (
          <>
            {" "}
            · <b class="gain">{gain(part)}</b>
          </>
        )}
      </span>
      {request.outputCsvUrl && (
        <a href={here(request.outputCsvUrl)} download aria-label={`Download the output CSV of ${request.csvFilename}`}>
          Output CSV
        </a>
      )}
    </p>
  );
}
