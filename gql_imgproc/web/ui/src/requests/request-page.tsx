import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { OneRequest } from "../api/operation";
import { query } from "../api/query";
import { socketState } from "../api/socket";
import type { Request } from "../api/types";
import { bytes, count, percent, saved } from "../format";
import { announce } from "../parts/announcer";
import { Badge } from "../parts/badge";
import { ByteBar } from "../parts/byte-bar";
import { Moment } from "../parts/moment";
import { Notice } from "../parts/notice";
import { ProgressBar } from "../parts/progress-bar";
import { Title } from "../parts/title";
import { useSignal } from "../parts/use-signal";
import { ProductList } from "../products/product-list";
import { store } from "../progress/store";
import { useWatch } from "../progress/watch";
import { home } from "../route";
import { Actions } from "./actions";
import { Counts, Pace } from "./figures";
import { isFinal, look } from "./status";
import { Warnings } from "./warnings";
import { WebhookLine } from "./webhook";

//: The subscription ends with the final status, and the webhook goes out after it.
const WEBHOOK_LOOK_MS = 3_000;
//: The subscription tells everything at once; this is for the day a proxy swallows its last event.
const RUNNING_LOOK_MS = 15_000;
//: Without a subscription, this is how progress is seen.
const WITHOUT_UPDATES_MS = 3_000;
//: What has ended may be tried again or deleted by others.
const FINAL_LOOK_MS = 30_000;

export function RequestPage({ id }: { id: string }) {
  const request = useWatch(id);
  const known = useRef(false);
  known.current ||= request !== undefined;
  const [missing, setMissing] = useState(false);
  // Once known, it is gone as soon as the store lost it.
  const gone = missing || (known.current && !request);
  const [fault, setFault] = useState<string | null>(null);

  const load = useCallback(async () => {
    try {
      const answer = await query(OneRequest, { id });
      setFault(null);
      if (answer.request) store.snapshot(answer.request);
      else setMissing(true);
    } catch (error) {
      setFault((error as Error).message);
    }
  }, [id]);

  useEffect(() => void load(), [load]);

  const lost = useSignal(socketState) === "lost";
  const every = request ? lookEvery(request, lost) : fault && WITHOUT_UPDATES_MS;
  useEffect(() => {
    if (!every) return;
    const look = () => document.hidden || void load();
    const timer = setInterval(look, every);
    document.addEventListener("visibilitychange", look);
    return () => {
      clearInterval(timer);
      document.removeEventListener("visibilitychange", look);
    };
  }, [every, load]);

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

/** How often to ask although nothing was told. */
function lookEvery(request: Request, lost: boolean): number {
  if (!isFinal(request)) return lost ? WITHOUT_UPDATES_MS : RUNNING_LOOK_MS;
  return ["PENDING", "RETRYING"].includes(request.webhook?.status ?? "") ? WEBHOOK_LOOK_MS : FINAL_LOOK_MS;
}

function Back() {
  return (
    <a class="back" href={home}>
      ← All requests
    </a>
  );
}

function Summary({ request }: { request: Request }) {
  const part = saved(request.inputBytes, request.outputBytes);
  const { quality, scale, format } = request.options;
  // What one looks for first: while it runs how far it is, afterwards what it saved.
  const finished = (
    <p class={isFinal(request) ? "quiet" : ""}>
      <b>{percent(finishedOf(request))}</b> finished
    </p>
  );
  return (
    <section class="card summary" aria-label="Progress">
      <div class="big">
        {isFinal(request) || finished}
        <Saving request={request} />
        {isFinal(request) && finished}
      </div>
      <ProgressBar request={request} />
      <div class="line">
        <Counts request={request} />
        <p class="facts">
          <Pace request={request} />
        </p>
      </div>
      {part !== null && <ByteBar before={request.inputBytes} after={request.outputBytes} />}
      <dl class="details">
        <div>
          <dt>Products</dt>
          <dd>
            {count(request.processedProducts + request.failedProducts)} of {count(request.totalProducts)} finished
          </dd>
        </div>
        <div>
          <dt>Options</dt>
          <dd>
            quality {count(quality)}, {scale === 1 ? "full size" : `scaled to ${percent(scale)}`},{" "}
            {format === "ORIGINAL" ? "format as it was" : format === "WEBP" ? "WebP" : format},{" "}
            {request.priority.toLowerCase()} priority
          </dd>
        </div>
        {request.webhook && (
          <div>
            <dt>Webhook</dt>
            <dd>
              <WebhookLine webhook={request.webhook} />
            </dd>
          </div>
        )}
      </dl>
    </section>
  );
}

function Saving({ request: { inputBytes, outputBytes } }: { request: Request }) {
  const part = saved(inputBytes, outputBytes);
  if (part === null)
    return (
      <p>
        <b>–</b> nothing saved yet
      </p>
    );
  if (part < 0)
    return (
      <p>
        <b>{percent(-part)}</b> larger, {bytes(outputBytes - inputBytes)} more
      </p>
    );
  return (
    <p class="save">
      <b>{percent(part)}</b> smaller, {bytes(inputBytes - outputBytes)} saved
    </p>
  );
}

/** Share of the pictures that came to an end of their own; rounded down, since 99.6 % is not all. */
function finishedOf({ processedImages, failedImages, totalImages }: Request): number {
  return totalImages ? Math.floor((100 * (processedImages + failedImages)) / totalImages) / 100 : 1;
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
