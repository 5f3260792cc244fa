import type { OutputFormat } from "../api/types";
import { Check, Choice, Text, WholeNumber, type Names } from "./fields";
import type { Effort, Fit, Options, Output } from "./options";

//: The server refuses more.
const MAX_OUTPUTS = 10;

export const formats: Names<OutputFormat> = [
  ["ORIGINAL", "Same as source"],
  ["JPEG", "JPEG"],
  ["PNG", "PNG"],
  ["WEBP", "WebP"],
  ["AVIF", "AVIF"],
];

export const fits: Names<Fit> = [
  ["INSIDE", "Keep all of the image"],
  ["COVER", "Cut off what exceeds it"],
];
export const efforts: Names<Effort> = [
  ["FAST", "Fast"],
  ["BALANCED", "Balanced"],
  ["SMALL", "Smallest files"],
];

const inherited = ["", "As above"] as const;
const added: Output = { name: "", format: "", maxWidth: null, maxHeight: null, fit: "", quality: null, effort: "" };

type Chosen = Pick<Options, "outputs" | "negotiate">;

/** Several files of each image, such as one for the shop and a thumbnail. */
export function OutputsEditor({ outputs, negotiate, onChange }: Chosen & { onChange: (change: Partial<Chosen>) => void }) {
  const setOutputs = (outputs: readonly Output[]) => onChange({ outputs });
  const add = () => setOutputs([...outputs, added]);
  return (
    <fieldset class="wide output-list">
      <legend>Several files of each image</legend>
      {outputs.map((output, index) => {
        const set = (change: Partial<Output>) => setOutputs(outputs.map((other, at) => (at === index ? { ...other, ...change } : other)));
        const number = index + 1;
        return (
          // Keyed by position: a name changes while it is typed.
          <div key={index} class="output-row" role="group" aria-label={`Output ${number}`}>
            <Text label="Name" placeholder={index ? "thumbnail" : "large"} value={output.name} onChange={(name) => set({ name })} />
            <Choice label="Format" value={output.format} names={[inherited, ...formats]} onChange={(format) => set({ format })} />
            <WholeNumber label="Width" value={output.maxWidth} onChange={(maxWidth) => set({ maxWidth })} />
            <WholeNumber label="Height" value={output.maxHeight} onChange={(maxHeight) => set({ maxHeight })} />
            <Choice label="To fit" value={output.fit} names={[inherited, ...fits]} onChange={(fit) => set({ fit })} />
            <WholeNumber label="Quality" value={output.quality} onChange={(quality) => set({ quality })} />
            <Choice label="Effort" value={output.effort} names={[inherited, ...efforts]} onChange={(effort) => set({ effort })} />
            <button type="button" class="small" aria-label={`Remove output ${number}`} onClick={() => setOutputs(outputs.filter((_, at) => at !== index))}>
              Remove
            </button>
          </div>
        );
      })}
      {outputs.length < MAX_OUTPUTS && (
        <button type="button" class="small" onClick={add}>
          Add an output
        </button>
      )}
      {outputs.length > 1 && (
        <Check
          label="Serve each browser the smallest format that it accepts, of files with the same size in pixels"
          checked={negotiate}
          onChange={(negotiate) => onChange({ negotiate })}
        />
      )}
    </fieldset>
  );
}
