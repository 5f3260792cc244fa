import { useRef, useState } from "preact/hooks";
import { formatLimit } from "../format";

interface Props {
  onFiles: (files: File[]) => void;
  maxUploadBytes: number | null;
}

/** A label around a file input, so that pointer, keyboard and screen reader all work. */
export function DropZone({ onFiles, maxUploadBytes }: Props) {
  const input = useRef<HTMLInputElement>(null);
  // A counter, since `dragenter` of a child fires before `dragleave` of its parent.
  const [depth, setDepth] = useState(0);
  return (
    <label
      class={depth > 0 ? "drop-zone dragging" : "drop-zone"}
      onDragEnter={(event) => {
        event.preventDefault();
        setDepth((old) => old + 1);
      }}
      onDragLeave={() => setDepth((old) => old - 1)}
      onDragOver={(event) => event.preventDefault()}
      onDrop={(event) => {
        event.preventDefault();
        setDepth(0);
        const files = [...(event.dataTransfer?.files ?? [])];
        if (files.length) onFiles(files);
      }}
    >
      <input
        ref={input}
        class="visually-hidden"
        type="file"
        accept=".csv,.tsv,.txt,.xlsx,.xlsm,.xlsb,.xls,.ods,text/csv"
        multiple
        aria-describedby="drop-hint"
        onChange={() => {
          onFiles([...(input.current!.files ?? [])]);
          // Cleared, so that the same file can be chosen again after it was fixed.
          input.current!.value = "";
        }}
      />
      <Sheet />
      <strong>{depth > 0 ? "Release to upload" : "Drop your shop's product export here, CSV or Excel"}</strong>
      <span class="button main" aria-hidden="true">
        Choose a file
      </span>
      <small id="drop-hint">
        Shopify, WooCommerce, Magento, BigCommerce, PrestaShop, Medusa, Google or Amazon; or any file with a column of
        image URLs
        {maxUploadBytes !== null && `. Up to ${formatLimit(maxUploadBytes)}`}
      </small>
    </label>
  );
}

function Sheet() {
  return (
    <svg class="sheet" viewBox="0 0 64 48" width="72" height="54" aria-hidden="true">
      <rect x="3" y="3" width="58" height="42" rx="6" />
      <path d="M3 15h58M3 25h58M3 35h58M17 3v42M38 3v42" />
      <rect class="fill" x="41" y="18" width="8" height="5" rx="1.5" />
      <rect class="fill" x="41" y="28" width="14" height="5" rx="1.5" />
      <rect class="fill" x="41" y="37.5" width="6" height="5" rx="1.5" />
    </svg>
  );
}
