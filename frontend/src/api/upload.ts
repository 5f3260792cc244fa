import { operationText, type Operation } from "./graphql";
import { authorizationHeader, credentials } from "./key";
import { EstimateCsv, PreviewCsv, UploadCsv } from "./operation";
import { unwrapData, Unreachable } from "./query";
import type { Estimate, Preview, UploadError, UploadInput, UploadResult } from "./types";

/** The server reads no more of a CSV file for a preview. */
const PREVIEW_BYTES = 64 * 1024;
/** The first two bytes of workbooks: ZIP archives, and files of old Office programs. */
const WORKBOOKS = [0x504b, 0xd0cf];

export async function upload(file: File, input: UploadInput, onProgress: (share: number) => void, signal: AbortSignal): Promise<UploadResult> {
  return (await send<{ uploadCsv: UploadResult }>(UploadCsv, file, file.name, input, onProgress, signal)).uploadCsv;
}

/** Asks how the server would read a file. Sends the start of a CSV file, and all of a workbook. */
export async function preview(file: File, input: UploadInput, signal: AbortSignal): Promise<Preview> {
  const [first = 0, second = 0] = new Uint8Array(await file.slice(0, 2).arrayBuffer());
  signal.throwIfAborted();
  const part = WORKBOOKS.includes(first * 256 + second) ? file : file.slice(0, PREVIEW_BYTES);
  return (await send<{ previewCsv: Preview }>(PreviewCsv, part, file.name, input, () => {}, signal)).previewCsv;
}

/** Asks what an upload would save. */
export async function estimate(file: File, input: UploadInput, signal: AbortSignal): Promise<Estimate | UploadError> {
  return (await send<{ estimateCsv: Estimate | UploadError }>(EstimateCsv, file, file.name, input, () => {}, signal)).estimateCsv;
}

/** Sends a file as a GraphQL multipart request. Uses XHR, since `fetch` reports no upload progress. */
function send<Data>(
  operation: Operation<unknown, never>,
  file: Blob,
  name: string,
  input: UploadInput,
  onProgress: (share: number) => void,
  signal: AbortSignal,
): Promise<Data> {
  const form = new FormData();
  form.append("operations", JSON.stringify({ query: operationText(operation), variables: { input: { ...input, file: null } } }));
  form.append("map", JSON.stringify({ 0: ["variables.input.file"] }));
  form.append("0", file, name);

  const key = credentials.key.value;
  return new Promise((resolve, reject) => {
    const xhr = new XMLHttpRequest();
    xhr.open("POST", "/graphql");
    // CSRF protection: the server requires this header, which forms on other sites cannot set.
    xhr.setRequestHeader("GraphQL-Preflight", "1");
    xhr.setRequestHeader("Accept", "application/json");
    Object.entries(authorizationHeader(key)).forEach(([name, value]) => xhr.setRequestHeader(name, value));
    xhr.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    xhr.onerror = () => reject(new Unreachable());
    xhr.onload = () => {
      try {
        resolve(unwrapData<Data>(JSON.parse(xhr.responseText), key));
      } catch (error) {
        reject(error instanceof SyntaxError ? new Unreachable() : error);
      }
    };
    signal.addEventListener("abort", () => xhr.abort());
    xhr.send(form);
  });
}
