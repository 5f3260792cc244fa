import type { OutputFormat, Priority } from "../api/types";
import { formatPercent } from "../format";
import { summarizeOptions, type Options } from "./options";

const formats: [OutputFormat, string][] = [
  ["ORIGINAL", "Same as source"],
  ["JPEG", "JPEG"],
  ["PNG", "PNG"],
  ["WEBP", "WebP"],
  ["AVIF", "AVIF"],
];

const priorities: [Priority, string][] = [
  ["HIGH", "High"],
  ["NORMAL", "Normal"],
  ["LOW", "Low"],
];

export function OptionsPanel({ options, onChange }: { options: Options; onChange: (options: Options) => void }) {
  const set = (change: Partial<Options>) => onChange({ ...options, ...change });
  return (
    <details class="options">
      <summary>
        Options <span>{summarizeOptions(options) || "quality 50, full size"}</span>
      </summary>
      <div class="fields">
        <label>
          <span>
            Quality <output>{options.quality}</output>
          </span>
          <input type="range" min="1" max="100" value={options.quality} onInput={(e) => set({ quality: e.currentTarget.valueAsNumber })} />
        </label>
        <label>
          <span>
            Size <output>{formatPercent(options.scale / 100)}</output>
          </span>
          <input type="range" min="5" max="100" step="5" value={options.scale} onInput={(e) => set({ scale: e.currentTarget.valueAsNumber })} />
        </label>
        <label>
          <span>Format</span>
          <select value={options.format} onChange={(e) => set({ format: e.currentTarget.value as OutputFormat })}>
            {formats.map(([value, name]) => (
              <option key={value} value={value}>
                {name}
              </option>
            ))}
          </select>
        </label>
        <label>
          <span>Priority</span>
          <select value={options.priority} onChange={(e) => set({ priority: e.currentTarget.value as Priority })}>
            {priorities.map(([value, name]) => (
              <option key={value} value={value}>
                {name}
              </option>
            ))}
          </select>
        </label>
        <label class="wide">
          <span>Webhook URL</span>
          <input
            type="url"
            inputMode="url"
            autoComplete="off"
            placeholder="https://shop.example.com/hooks/images"
            value={options.webhookUrl}
            onInput={(e) => set({ webhookUrl: e.currentTarget.value })}
          />
          <small>For developers: this URL is called when the request finishes.</small>
        </label>
      </div>
    </details>
  );
}
