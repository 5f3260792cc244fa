import { useEffect, useRef } from "preact/hooks";
import { bytes, percent } from "../format";
import { Refusal } from "./refusal";
import { uploads, type Upload } from "./uploads";

/** One file on its way: sent, checked, then handed on or refused. */
export function UploadItem({ upload }: { upload: Upload }) {
  const { file, state } = upload;
  const item = useRef<HTMLLIElement>(null);
  const refused = state.at === "refused";
  useEffect(() => {
    if (refused) item.current!.scrollIntoView({ block: "nearest" });
  }, [refused]);

  const verb = state.at === "sending" ? "Stop" : "Dismiss";
  return (
    <li ref={item} class={`card upload ${state.at}`}>
      <div class="line">
        <h3>
          <bdi>{file.name}</bdi>
        </h3>
        <button class="small" onClick={() => uploads.remove(upload.key)} aria-label={`${verb} ${file.name}`}>
          {verb}
        </button>
      </div>
      {state.at === "sending" && (
        <>
          <progress max={1} value={state.share} aria-label={`Upload of ${file.name}`} />
          <p class="facts">{state.share < 1 ? `${percent(state.share)} of ${bytes(file.size)} sent` : "Sent, every row is being checked …"}</p>
        </>
      )}
      {state.at === "refused" && <Refusal result={state.result} />}
      {state.at === "failed" && (
        <div class="facts">
          <p class="fault">{state.message}</p>
          <button class="small" onClick={() => void uploads.send(upload)}>
            Try again
          </button>
        </div>
      )}
    </li>
  );
}
