import type { Request } from "../api/types";
import { bytes, count, percent, saved } from "../format";
import { ByteBar } from "../parts/byte-bar";
import { ProgressBar } from "../parts/progress-bar";
import { Counts, Pace } from "./figures";
import { isFinal } from "./status";
import { WebhookLine } from "./webhook";

/** How far a request is, what it saved, and what it was asked to do. */
export function Summary({ request }: { request: Request }) {
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
