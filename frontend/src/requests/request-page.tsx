import { useEffect, useRef } from "preact/hooks";
import type { Request } from "../api/types";
import { formatPercent } from "../format";
import { announce } from "../parts/announcer";
import { Badge } from "../parts/badge";
import { Timestamp } from "../parts/timestamp";
import { Notice } from "../parts/notice";
import { Title } from "../parts/title";
import { LeastSimilar } from "../products/least-similar";
import { ProductList } from "../products/product-list";
import { home } from "../route";
import { Actions } from "./actions";
import { Failures } from "./failures";
import { useRequestPolling } from "./use-request-polling";
import { describeStatus, isFinal } from "./status";
import { Summary } from "./summary";
import { Warnings } from "./warnings";

export function RequestPage({ id }: { id: string }) {
  const { request, isGone, error, load } = useRequestPolling(id);
  useMilestones(request);

  if (isGone || !request)
    return (
      <>
        <Back />
        <Title text={isGone ? "No such request" : "Request"} />
        {isGone && <Notice title="It was deleted, or the URL is incomplete.">
            <a href={home}>See all requests</a>
          </Notice>}
        {error && <Notice tone="bad" title={error} action={{ text: "Try again", run: load }} />}
        {!isGone && !error && <div class="card skeleton tall" role="img" aria-label="Loading" />}
      </>
    );
  return (
    <>
      <Back />
      <header class="request-head">
        <div>
          <Title text={request.csvFilename} />
          <p class="facts">
            <Badge status={request.status} />
            <span>
              accepted <Timestamp at={request.createdAt} />
            </span>
          </p>
        </div>
        <Actions request={request} />
      </header>
      {/* While the request runs, the banner reports a lost connection. */}
      {error && isFinal(request) && <Notice tone="bad" title={error} action={{ text: "Try again", run: load }} />}
      {request.failure && (
        <Notice tone="bad" title="The request failed">
          {request.failure.message}
        </Notice>
      )}
      <Warnings id={id} />
      <Summary request={request} />
      {request.failedImages > 0 && <Failures request={request} />}
      {isFinal(request) && request.processedImages > 0 && <LeastSimilar request={request} />}
      <ProductList request={request} />
    </>
  );
}

function Back() {
  return (
    <a class="back" href={home}>
      ← All requests
    </a>
  );
}

/** Announces every quarter and the end to screen readers; every image would be too much. */
function useMilestones(request: Request | undefined): void {
  const last = useRef<string | null>(null);
  useEffect(() => {
    if (!request) return;
    const quarter = Math.floor(request.progressPercent / 25) * 25;
    const text = isFinal(request) ? `${describeStatus(request.status)[1]}.` : quarter ? `${formatPercent(quarter / 100)} so far.` : "";
    if (last.current !== null && last.current !== text && text) announce(text);
    last.current = text;
  }, [request]);
}
