import { operationText } from "./graphql";
import { authorizationHeader, credentials } from "./key";
import { UploadCsv } from "./operation";
import { unwrapData, Unreachable } from "./query";
import type { UploadInput, UploadResult } from "./types";

/** Sends a file as a GraphQL multipart request. Uses XHR, since `fetch` reports no upload progress. */
export function upload(
  file: File,
  input: UploadInput,
  onProgress: (share: number) => void,
  signal: AbortSignal,
): Promise<UploadResult> {
  const form = new FormData();
  form.append("operations", JSON.stringify({ query: operationText(UploadCsv), variables: { input: { ...input, file: null } } }));
  form.append("map", JSON.stringify({ 0: ["variables.input.file"] }));
  form.append("0", file, file.name);

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
        resolve(unwrapData<{ uploadCsv: UploadResult }>(JSON.parse(xhr.responseText), key).uploadCsv);
      } catch (error) {
        reject(error instanceof SyntaxError ? new Unreachable() : error);
      }
    };
    signal.addEventListener("abort", () => xhr.abort());
    xhr.send(form);
  });
}
