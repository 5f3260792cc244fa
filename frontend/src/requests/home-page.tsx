import { useState } from "preact/hooks";
import { Title } from "../parts/title";
import { useSignal } from "../parts/use-signal";
import { UploadPanel } from "../upload/upload-panel";
import { uploads } from "../upload/uploads";
import { RequestList } from "./request-list";

export function HomePage() {
  const [maxUploadBytes, setMaxUploadBytes] = useState<number | null>(null);
  const accepted = useSignal(uploads.accepted);
  return (
    <div class="home">
      <div class="upload-side">
        <Title text="Make images smaller" />
        <p class="lead">
          Drop your shop's product export, CSV or Excel. Every image in it is downloaded, compressed and stored. You get the same file
          back with the new image URLs, ready to import.
        </p>
        <UploadPanel maxUploadBytes={maxUploadBytes} />
      </div>
      <RequestList accepted={accepted} onLimits={setMaxUploadBytes} />
    </div>
  );
}
