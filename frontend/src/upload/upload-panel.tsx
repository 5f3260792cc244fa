import { useState } from "preact/hooks";
import { useSignal } from "../parts/use-signal";
import { DropZone } from "./drop-zone";
import { Check } from "./fields";
import { OptionsPanel } from "./options-panel";
import { defaults, type Options } from "./options";
import { UploadItem } from "./upload-item";
import { uploads } from "./uploads";

/** The upload form, with each file that is not accepted yet. */
export function UploadPanel({ maxUploadBytes }: { maxUploadBytes: number | null }) {
  const [options, setOptions] = useState<Options>(defaults);
  const list = useSignal(uploads.list);
  return (
    <section aria-labelledby="upload-title">
      <h2 id="upload-title" class="visually-hidden">
        Upload
      </h2>
      <DropZone onFiles={(files) => uploads.add(files, options, maxUploadBytes)} maxUploadBytes={maxUploadBytes} />
      <div class="estimate-first">
        <Check label="Estimate first, upload nothing yet" checked={options.estimates} onChange={(estimates) => setOptions({ ...options, estimates })} />
      </div>
      <ul class="list uploads">
        {list.map((upload) => (
          <UploadItem key={upload.key} upload={upload} />
        ))}
      </ul>
      <OptionsPanel options={options} onChange={setOptions} />
    </section>
  );
}
