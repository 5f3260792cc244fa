import { useEffect, useRef } from "preact/hooks";
import { formatBytes, formatPercent } from "../format";
import { nameProfile } from "../requests/profile";
import { ColumnDialog } from "./column-dialog";
import { EstimateResult } from "./estimate-result";
import { UploadErrors } from "./upload-errors";
import { uploads, type Upload } from "./uploads";

/** One file that is being uploaded and validated, or was rejected. */
export function UploadItem({ upload }: { upload: Upload }) {
  const { file, profile, state } = upload;
  const item = useRef<HTMLLIElement>(null);
  const rejected = state.status === "rejected";
  useEffect(() => {
    if (rejected) item.current!.scrollIntoView({ block: "nearest" });
  }, [rejected]);

  const verb = ["checking", "estimating", "sending"].includes(state.status) ? "Stop" : "Dismiss";
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
      {state.status === "checking" && <p class="facts">Looking at the columns …</p>}
      {state.status === "columns" && (
        <ColumnDialog
          file={file}
          preview={state.preview}
          onChoose={(choice) => uploads.choose(upload, choice)}
          onClose={() => uploads.remove(upload.key)}
        />
      )}
      {profile && <p class="facts">Recognized: {nameProfile(profile)}</p>}
      {state.status === "estimating" && <p class="facts">Measuring a sample of the images, for at most 30 seconds …</p>}
      {state.status === "estimated" && <EstimateResult result={state.result} onUpload={() => void uploads.send(upload)} />}
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
          <button class="small" onClick={() => void (upload.choice.columns || profile ? uploads.proceed(upload) : uploads.start(upload))}>
            Try again
          </button>
        </div>
      )}
    </li>
  );
}
