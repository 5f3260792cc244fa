import { useEffect, useRef, useState } from "preact/hooks";
import type { Refused, Request } from "../api/types";
import { upload } from "../api/upload";
import { bytes, limit, percent } from "../format";
import { announce } from "../parts/announcer";
import { inputOf, newKey, type Options } from "./options";
import { Refusal } from "./refusal";

type State =
  | { at: "sending"; share: number }
  | { at: "refused"; result: Refused }
  | { at: "failed"; message: string };

interface Props {
  file: File;
  options: Options;
  maxUploadBytes: number | null;
  onAccepted: (request: Request) => void;
  onClose: () => void;
}

/** One file on its way: sent, checked, then handed on or refused. */
export function UploadItem({ file, options, maxUploadBytes, onAccepted, onClose }: Props) {
  const [state, setState] = useState<State>({ at: "sending", share: 0 });
  // One key for all attempts with this file, so that a lost answer starts nothing twice.
  const key = useRef(newKey());
  const abort = useRef(new AbortController());
  const item = useRef<HTMLLIElement>(null);

  const send = async () => {
    if (maxUploadBytes !== null && file.size > maxUploadBytes) {
      const message = `The file has ${bytes(file.size)}; at most ${limit(maxUploadBytes)} are accepted.`;
      setState({ at: "refused", result: { __typename: "UploadTooLarge", message, limitBytes: maxUploadBytes } });
      return;
    }
    setState({ at: "sending", share: 0 });
    try {
      const result = await upload(file, inputOf(options, key.current), (share) => setState({ at: "sending", share }), abort.current.signal);
      if (result.__typename === "UploadCsvSuccess") return onAccepted(result.request);
      setState({ at: "refused", result });
      announce(`${file.name} was refused. ${result.message}`);
    } catch (error) {
      setState({ at: "failed", message: (error as Error).message });
      announce(`${file.name} could not be uploaded.`);
    }
  };

  useEffect(() => {
    void send();
    return () => abort.current.abort();
  }, []);
  const refused = state.at === "refused";
  useEffect(() => {
    if (refused) item.current!.scrollIntoView({ block: "nearest" });
  }, [refused]);

  return (
    <li ref={item} class={`card upload ${state.at}`}>
      <div class="line">
        <h3>{file.name}</h3>
        <button class="small" onClick={onClose} aria-label={`${state.at === "sending" ? "Stop" : "Dismiss"} ${file.name}`}>
          {state.at === "sending" ? "Stop" : "Dismiss"}
        </button>
      </div>
      {state.at === "sending" && (
        <>
          <progress max={1} value={state.share} aria-label={`Upload of ${file.name}`} />
          <p class="facts">{state.share < 1 ? `${percent(state.share)} of ${bytes(file.size)} sent` : "Sent, the server checks every row …"}</p>
        </>
      )}
      {state.at === "refused" && <Refusal result={state.result} />}
      {state.at === "failed" && (
        <div class="facts">
          <p class="fault">{state.message}</p>
          <button class="small" onClick={send}>
            Try again
          </button>
        </div>
      )}
    </li>
  );
}
