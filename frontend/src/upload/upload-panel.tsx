import { useState } from "preact/hooks";
import { useSignal } from "../parts/use-signal";
import { DropZone } from "./drop-zone";
import { OptionsFold } from "./options-fold";
import { defaults, type Options } from "./options";
import { UploadItem } from "./upload-item";
import { uploads } from "./uploads";

/** Takes files and shows each until it is accepted. */
export function UploadPanel({ maxUploadBytes }: { maxUploadBytes: number | null }) {
  const [options, setOptions] = useState<Options>(defaults);
  const list = useSignal(uploads.list);
  return (
    <section aria-labelledby="upload-title">
      <h2 id="upload-title" class="unseen">
        Upload
      </h2>
      <DropZone onFiles={(files) => uploads.add(files, options, maxUploadBytes)} maxUploadBytes={maxUploadBytes} />
      <ul class="list uploads">
        {list.map((upload) => (
          <UploadItem key={upload.key} upload={upload} />
        ))}
      </ul>
      <OptionsFold options={options} onChange={setOptions} />
    </section>
  );
}
