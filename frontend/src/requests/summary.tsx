import type { Request } from "../api/types";
import { formatBytes, formatCount, formatPercent, savedShare } from "../format";
import { ByteBar } from "../parts/byte-bar";
import { ProgressBar } from "../parts/progress-bar";
import { Counts, Timing } from "./stats";
import { describeFile } from "./profile";
import { isFinal } from "./status";
import { WebhookLine } from "./webhook";

/** Progress, savings and options of a request. */
export function Summary({ request }: { request: Request }) {
  const part = savedShare(request.inputBytes, request.outputBytes);
  const { quality, scale, format } = request.options;
  // Progress first while the request runs, savings first afterwards.
  const finished = (
    <p class={isFinal(request) ? "quiet" : ""}>
      <b>{formatPercent(finishedShare(request))}</b> finished
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
          <Timing request={request} />
        </p>
      </div>
      {part !== null && <ByteBar before={request.inputBytes} after={request.outputBytes} />}
      <dl class="details">
        <div>
          <dt>File</dt>
          <dd>{describeFile(request)}</dd>
        </div>
        <div>
          <dt>Products</dt>
          <dd>
            {formatCount(request.processedProducts + request.failedProducts)} of {formatCount(request.totalProducts)} finished
          </dd>
        </div>
        <div>
          <dt>Options</dt>
          <dd>
            quality {formatCount(quality)}, {scale === 1 ? "full size" : `scaled to ${formatPercent(scale)}`},{" "}
            {format === "ORIGINAL" ? "original format" : format === "WEBP" ? "WebP" : format},{" "}
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
  const part = savedShare(inputBytes, outputBytes);
  if (part === null)
    return (
      <p>
        <b>–</b> nothing saved yet
      </p>
    );
  if (part < 0)
    return (
      <p>
        <b>{formatPercent(-part)}</b> larger, {formatBytes(outputBytes - inputBytes)} more
      </p>
    );
  return (
    <p class="save">
      <b>{formatPercent(part)}</b> smaller, {formatBytes(inputBytes - outputBytes)} saved
    </p>
  );
}

/** Share of images that completed or failed, without cancelled ones. Rounded down, since 99.6 % is not all. */
function finishedShare({ processedImages, failedImages, totalImages }: Request): number {
  return totalImages ? Math.floor((100 * (processedImages + failedImages)) / totalImages) / 100 : 1;
}
