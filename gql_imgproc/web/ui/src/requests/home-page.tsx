import { useState } from "preact/hooks";
import type { Request } from "../api/types";
import { plural } from "../format";
import { announce } from "../parts/announcer";
import { Title } from "../parts/title";
import { store } from "../progress/store";
import { UploadPanel } from "../upload/upload-panel";
import { RequestList } from "./request-list";

export function HomePage() {
  const [accepted, setAccepted] = useState<string[]>([]);
  const [maxUploadBytes, setMaxUploadBytes] = useState<number | null>(null);

  const accept = (request: Request) => {
    store.snapshot(request);
    setAccepted((old) => [request.id, ...old.filter((id) => id !== request.id)]);
    announce(`${request.csvFilename} accepted, ${plural(request.totalImages, "picture")}.`);
  };

  return (
    <div class="home">
      <div class="upload-side">
        <Title text="Make pictures smaller" />
        <p class="lead">
          Drop a CSV of your products. Every picture in it is fetched, compressed and stored, and you get the CSV back with
          the new addresses.
        </p>
        <UploadPanel onAccepted={accept} maxUploadBytes={maxUploadBytes} />
      </div>
      <RequestList accepted={accepted} onLimits={setMaxUploadBytes} />
    </div>
  );
}
