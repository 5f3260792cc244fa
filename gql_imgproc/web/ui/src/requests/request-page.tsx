import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { OneRequest } from "../api/operation";
import { query } from "../api/query";
import type { Request } from "../api/types";
import { bytes, count, percent, saved } from "../format";
import { announce } from "../parts/announcer";
import { Badge } from "../parts/badge";
import { ByteBar } from "../parts/byte-bar";
import { Moment } from "../parts/moment";
import { Notice } from "../parts/notice";
import { ProgressBar } from "../parts/progress-bar";
import { Title } from "../parts/title";
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

export function RequestPage({ id }: { id: string }) {
  const request = useWatch(id);
  const [gone, setGone] = useState(false);
  const [fault, setFault] = useState<string | null>(null);
  const deleted = useRef(false);

  const load = useCallback(async () => {
    try {
      const answer = await query(OneRequest, { id });
      setFault(null);
      if (answer.request) store.snapshot(answer.request);
      else if (!deleted.current) setGone(true);
    } catch (error) {
      setFault((error as Error).message);
    }
  }, [id]);

  useEffect(() => void load(), [load]);

  const every = request && lookEvery(request);
  useEffect(() => {
    if (!every) return;
    const timer = setInterval(() => document.hidden || void load(), every);
    return () => clearInterval(timer);
  }, [every, load]);

  useMilestones(request);

  if (gone || !request)
    return (
      <>
        <Back />
        <Title text={gone ? "No such request" : "Request"} />
        {gone && <Notice title="It may have been deleted, or the address is incomplete.">Look for it in the list.</Notice>}
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
        <Actions request={request} onDeleted={() => (deleted.current = true)} />
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

/** How often to ask although nothing was told; null for never. */
function lookEvery(request: Request): number | null {
  if (!isFinal(request)) return RUNNING_LOOK_MS;
  return ["PENDING", "RETRYING"].includes(request.webhook?.status ?? "") ? WEBHOOK_LOOK_MS : null;
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
  return (
    <section class="card summary" aria-label="Progress">
      <div class="big">
        <p>
          <b>{percent(handledOf(request))}</b> {isFinal(request) ? "handled" : "so far"}
        </p>
        <p class="save">
          <b>{part === null ? "–" : percent(part)}</b> {part === null ? "nothing stored yet" : `smaller, ${bytes(request.inputBytes - request.outputBytes)} saved`}
        </p>
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
            {count(request.processedProducts + request.failedProducts)} of {count(request.totalProducts)} handled
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

/** Share of the pictures that came to an end of their own; rounded down, since 99.6 % is not all. */
function handledOf({ processedImages, failedImages, totalImages }: Request): number {
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
