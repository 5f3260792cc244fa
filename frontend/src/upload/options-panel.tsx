import { formatPercent } from "../format";
import { FILES } from "../requests/profile";
import { Check, Choice, Group, Text, WholeNumber, type Names } from "./fields";
import { efforts, fits, formats, OutputsEditor } from "./outputs-editor";
import { summarizeOptions, type ImageFilter, type Options } from "./options";

const priorities: Names<Options["priority"]> = [
  ["HIGH", "High"],
  ["NORMAL", "Normal"],
  ["LOW", "Low"],
];
const metadata: Names<Options["metadata"]> = [
  ["NONE", "None"],
  ["COPYRIGHT", "Creator and rights"],
  ["ALL", "All"],
];
const policies: Names<Options["onInvalidRow"]> = [
  ["", "As usual for the file"],
  ["REFUSE_FILE", "Refuse the file"],
  ["SKIP_ROW", "Leave them as they are"],
];
const filters: Names<ImageFilter> = [
  ["GRAYSCALE", "Grey"],
  ["SHARPEN", "Sharpen"],
  ["BLUR", "Blur"],
  ["AUTOCONTRAST", "Stretch contrast"],
];
const profiles = [["", "Recognized by its columns"], ...Object.entries(FILES).filter(([profile]) => profile !== "CUSTOM")] as Names<Options["profile"]>;

const encodings = ["utf-8", "windows-1250", "windows-1251", "windows-1252", "windows-1253", "windows-1254", "gbk", "big5", "shift_jis", "euc-kr"];

interface PanelProps {
  options: Options;
  onChange: (options: Options) => void;
}

export function OptionsPanel({ options, onChange }: PanelProps) {
  return (
    <details class="options">
      <summary>
        Options <span>{summarizeOptions(options) || "quality 50, full size"}</span>
      </summary>
      <div class="fields">
        <ImageOptions options={options} onChange={onChange} />
        <FileOptions options={options} onChange={onChange} />
      </div>
    </details>
  );
}

/** What happens to each image. */
function ImageOptions({ options, onChange }: PanelProps) {
  const set = (change: Partial<Options>) => onChange({ ...options, ...change });
  return (
    <>
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
      <Choice label="Format" value={options.format} names={formats} onChange={(format) => set({ format })} />
      <Choice label="Effort" value={options.effort} names={efforts} onChange={(effort) => set({ effort })} />
      <WholeNumber label="Largest width" value={options.maxWidth} onChange={(maxWidth) => set({ maxWidth })} />
      <WholeNumber label="Largest height" value={options.maxHeight} onChange={(maxHeight) => set({ maxHeight })} />
      <Choice label="To fit" value={options.fit} names={fits} onChange={(fit) => set({ fit })} />
      <WholeNumber label="Largest file, in kB" value={options.maxKilobytes} onChange={(maxKilobytes) => set({ maxKilobytes })} />
      <WholeNumber label="Least similarity, 0 to 100" value={options.minSimilarity} onChange={(minSimilarity) => set({ minSimilarity })} />
      <Group legend="Cut out of each source image, in pixels">
        {(["x", "y", "width", "height"] as const).map((side) => (
          <WholeNumber key={side} label={side} value={options.crop[side]} onChange={(pixels) => set({ crop: { ...options.crop, [side]: pixels } })} />
        ))}
      </Group>
      <Check label="Remove a border of one colour" checked={options.trim} onChange={(trim) => set({ trim })} />
      <Text label="Pad to a ratio or size" placeholder="1:1 or 1000x1000" value={options.pad} onChange={(pad) => set({ pad })} />
      <Text label="Background" placeholder="#FFFFFF" value={options.padColor} onChange={(padColor) => set({ padColor })} />
      <Group legend="Filters">
        {filters.map(([filter, name]) => (
          <Check
            key={filter}
            label={name}
            checked={options.filters.includes(filter)}
            onChange={(checked) => set({ filters: checked ? [...options.filters, filter] : options.filters.filter((other) => other !== filter) })}
          />
        ))}
      </Group>
      <Choice label="Metadata" value={options.metadata} names={metadata} onChange={(metadata) => set({ metadata })} />
      <Text label="File names" placeholder="{handle}-{n}" value={options.fileName} onChange={(fileName) => set({ fileName })} />
      <OutputsEditor outputs={options.outputs} negotiate={options.negotiate} onChange={set} />
    </>
  );
}

/** How the file is read, and what happens around it. */
function FileOptions({ options, onChange }: PanelProps) {
  const set = (change: Partial<Options>) => onChange({ ...options, ...change });
  return (
    <>
      <Choice label="File" value={options.profile} names={profiles} onChange={(profile) => set({ profile })} />
      <label>
        <span>Encoding</span>
        <input list="encodings" autoComplete="off" placeholder="Detected" value={options.encoding} onInput={(e) => set({ encoding: e.currentTarget.value })} />
        <datalist id="encodings">
          {encodings.map((name) => (
            <option key={name} value={name} />
          ))}
        </datalist>
      </label>
      <Choice label="Invalid rows" value={options.onInvalidRow} names={policies} onChange={(onInvalidRow) => set({ onInvalidRow })} />
      <Choice label="Priority" value={options.priority} names={priorities} onChange={(priority) => set({ priority })} />
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
      <Check label="Choose the columns of my file" checked={options.choosesColumns} onChange={(choosesColumns) => set({ choosesColumns })} />
      <Check label="Process unchanged images again" checked={options.refresh} onChange={(refresh) => set({ refresh })} />
    </>
  );
}
