import { useEffect, useRef, useState } from "preact/hooks";
import { CancelRequest, DeleteRequest, ResendWebhook, RetryFailedImages } from "../api/operation";
import type { Operation } from "../api/graphql";
import { query } from "../api/query";
import type { Request } from "../api/types";
import { announce } from "../parts/announcer";
import { Dialog } from "../parts/dialog";
import { plural } from "../format";
import { store } from "../progress/store";
import { here, home } from "../route";
import { isFinal } from "./status";

type Change = Operation<
  { result: { __typename: string; request?: Request; deletedId?: string; message?: string } },
  { input: { id: string } }
>;

/** What can be done with a request in its present state. */
export function Actions({ request }: { request: Request }) {
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState<string | null>(null);
  const [asking, setAsking] = useState<"cancel" | "delete" | null>(null);
  const final = isFinal(request);

  const change = async (operation: Change, said: string) => {
    setBusy(true);
    setFault(null);
    try {
      const { result } = await query(operation, { input: { id: request.id } });
      if (result.message) setFault(result.message);
      else announce(said);
      if (result.request) store.snapshot(result.request);
      if (result.deletedId) {
        // Not before this page has given way to the list: it would say that there is no such request.
        addEventListener("hashchange", () => store.delete(request.id), { once: true });
        location.hash = home;
      }
    } catch (error) {
      setFault((error as Error).message);
    }
    setBusy(false);
  };

  // A button that did its work may be gone: who used it by keyboard is not to start again at the top.
  const group = useRef<HTMLDivElement>(null);
  const acted = useRef(false);
  acted.current ||= busy;
  useEffect(() => {
    if (acted.current && !busy && document.activeElement === document.body) group.current!.focus();
  }, [busy, request.status]);

  return (
    <div ref={group} class="actions" role="group" aria-label="Actions" tabIndex={-1}>
      {request.outputCsvUrl && (
        <a class="button main" href={here(request.outputCsvUrl)} download>
          Download output CSV
        </a>
      )}
      {final && request.failedImages > 0 && (
        <button disabled={busy} onClick={() => change(RetryFailedImages, "Failed pictures are tried again.")}>
          Retry {plural(request.failedImages, "failed picture")}
        </button>
      )}
      {final && request.webhook && (
        <button disabled={busy} onClick={() => change(ResendWebhook, "The webhook is sent again.")}>
          Resend webhook
        </button>
      )}
      {!final && (
        <button class="danger" disabled={busy} onClick={() => setAsking("cancel")}>
          Cancel
        </button>
      )}
      {final && (
        <button class="danger" disabled={busy} onClick={() => setAsking("delete")}>
          Delete
        </button>
      )}
      {fault && (
        <p class="fault" role="alert">
          {fault}
        </p>
      )}
      {asking === "cancel" && (
        <Question
          title="Cancel this request?"
          text="Pictures that are done stay; the others are not fetched any more."
          yes="Cancel the request"
          no="Go on"
          onYes={() => change(CancelRequest, "The request is cancelled.")}
          onClose={() => setAsking(null)}
        />
      )}
      {asking === "delete" && (
        <Question
          title={`Delete ${request.csvFilename}?`}
          text="Its stored pictures and the output CSV go with it, and their addresses stop working."
          yes="Delete for good"
          no="Keep"
          onYes={() => change(DeleteRequest, "The request is deleted.")}
          onClose={() => setAsking(null)}
        />
      )}
    </div>
  );
}

function Question(props: { title: string; text: string; yes: string; no: string; onYes: () => void; onClose: () => void }) {
  return (
    <Dialog label={props.title} class="question" onClose={props.onClose}>
      <h2>{props.title}</h2>
      <p>{props.text}</p>
      <form method="dialog" class="actions">
        <button>{props.no}</button>
        <button class="danger filled" onClick={props.onYes}>
          {props.yes}
        </button>
      </form>
    </Dialog>
  );
}
