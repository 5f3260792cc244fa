import { useEffect, useRef } from "preact/hooks";
import type { Request } from "../api/types";
import { percent } from "../format";
import { announce } from "../parts/announcer";
import { Badge } from "../parts/badge";
import { Moment } from "../parts/moment";
import { Notice } from "../parts/notice";
import { Title } from "../parts/title";
import { ProductList } from "../products/product-list";
import { home } from "../route";
import { Actions } from "./actions";
import { useLookedAfter } from "./looked-after";
import { isFinal, look } from "./status";
import { Summary } from "./summary";
import { Warnings } from "./warnings";

export function RequestPage({ id }: { id: string }) {
  const { request, gone, fault, load } = useLookedAfter(id);
  useMilestones(request);

  if (gone || !request)
    return (
      <>
        <Back />
        <Title text={gone ? "No such request" : "Request"} />
        {gone && <Notice title="It was deleted, or its address is incomplete.">
            <a href={home}>See all requests</a>
          </Notice>}
        {fault && <Notice tone="bad" title={fault} action={{ text: "Try again", run: load }} />}
        {!gone && !fault && <div class="card skeleton tall" role="img" aria-label="Loading" />}
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
              accepted <Moment at={request.createdAt} />
            </span>
          </p>
        </div>
        <Actions request={request} />
      </header>
      {/* While it runs, the banner tells of a lost connection. */}
      {fault && isFinal(request) && <Notice tone="bad" title={fault} action={{ text: "Try again", run: load }} />}
      {request.failure && (
        <Notice tone="bad" title="The request failed">
          {request.failure.message}
        </Notice>
      )}
      <Warnings id={id} />
      <Summary request={request} />
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

/** Says every quarter and the end aloud; each picture would be noise. */
function useMilestones(request: Request | undefined): void {
  const last = useRef<string | null>(null);
  useEffect(() => {
    if (!request) return;
    const quarter = Math.floor(request.progressPercent / 25) * 25;
    const text = isFinal(request) ? `${look(request.status)[1]}.` : quarter ? `${percent(quarter / 100)} so far.` : "";
    if (last.current !== null && last.current !== text && text) announce(text);
    last.current = text;
  }, [request]);
}
