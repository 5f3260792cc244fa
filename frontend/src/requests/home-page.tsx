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
        <Title text="Make pictures smaller" />
        <p class="lead">
          Drop a CSV of your products. Every picture in it is fetched, compressed and stored, and you get the CSV back with
          the new addresses.
        </p>
        <UploadPanel maxUploadBytes={maxUploadBytes} />
      </div>
      <RequestList accepted={accepted} onLimits={setMaxUploadBytes} />
    </div>
  );
}
