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
          Drop a CSV of your products. Every image in it is downloaded, compressed and stored. You get the CSV back with
          the new image URLs.
        </p>
        <UploadPanel maxUploadBytes={maxUploadBytes} />
      </div>
      <RequestList accepted={accepted} onLimits={setMaxUploadBytes} />
    </div>
  );
}
