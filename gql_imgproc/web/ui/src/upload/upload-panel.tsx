import { useState } from "preact/hooks";
import type { Request } from "../api/types";
import { DropZone } from "./drop-zone";
import { OptionsFold } from "./options-fold";
import { defaults, type Options } from "./options";
import { UploadItem } from "./upload-item";

interface Props {
  onAccepted: (request: Request) => void;
  maxUploadBytes: number | null;
}

/** Takes files and shows each until it is accepted. */
export function UploadPanel({ onAccepted, maxUploadBytes }: Props) {
  const [options, setOptions] = useState<Options>(defaults);
  const [files, setFiles] = useState<{ key: number; file: File; options: Options }[]>([]);
  const remove = (key: number) => setFiles((old) => old.filter((item) => item.key !== key));
  const add = (added: File[]) =>
    setFiles((old) => {
      const next = (old.at(-1)?.key ?? 0) + 1;
      return [...old, ...added.map((file, index) => ({ key: next + index, file, options }))];
    });
  return (
    <section aria-labelledby="upload-title">
      <h2 id="upload-title" class="unseen">
        Upload
      </h2>
      <DropZone onFiles={add} maxUploadBytes={maxUploadBytes} />
      <ul class="list uploads">
        {files.map(({ key, file, options: chosen }) => (
          <UploadItem
            key={key}
            file={file}
            options={chosen}
            maxUploadBytes={maxUploadBytes}
            onClose={() => remove(key)}
            onAccepted={(request) => {
              remove(key);
              onAccepted(request);
            }}
          />
        ))}
      </ul>
      <OptionsFold options={options} onChange={setOptions} />
    </section>
  );
}
