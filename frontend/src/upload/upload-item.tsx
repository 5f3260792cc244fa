import { useEffect, useRef } from "preact/hooks";
import { formatBytes, formatPercent } from "../format";
import { UploadErrors } from "./upload-errors";
import { uploads, type Upload } from "./uploads";

/** One file that is being uploaded and validated, or was rejected. */
export function UploadItem({ upload }: { upload: Upload }) {
  const { file, state } = upload;
  const item = useRef<HTMLLIElement>(null);
  const rejected = state.status === "rejected";
  useEffect(() => {
    if (rejected) item.current!.scrollIntoView({ block: "nearest" });
  }, [rejected]);

  const verb = state.status === "sending" ? "Stop" : "Dismiss";
  return (
    <li ref={item} class={`card upload ${state.status}`}>
      <div class="line">
        <h3>
          <bdi>{file.name}</bdi>
        </h3>
        <button class="small" onClick={() => uploads.remove(upload.key)} aria-label={`${verb} ${file.name}`}>
          {verb}
        </button>
      </div>
      {state.status === "sending" && (
        <>
          <progress max={1} value={state.share} aria-label={`Upload of ${file.name}`} />
          <p class="facts">{state.share < 1 ? `${formatPercent(state.share)} of ${formatBytes(file.size)} sent` : "Sent. Checking every row …"}</p>
        </>
      )}
      {state.status === "rejected" && <UploadErrors result={state.result} />}
      {state.status === "failed" && (
        <div class="facts">
          <p class="error">{state.message}</p>
          <button class="small" onClick={() => void uploads.send(upload)}>
            Try again
          </button>
        </div>
      )}
    </li>
  );
}
