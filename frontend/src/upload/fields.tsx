import type { ComponentChildren } from "preact";

export type Names<Value extends string> = readonly (readonly [Value, string])[];

interface ChoiceProps<Value extends string> {
  label: string;
  value: Value;
  names: Names<Value>;
  onChange: (value: Value) => void;
}

export function Choice<Value extends string>({ label, value, names, onChange }: ChoiceProps<Value>) {
  return (
    <label>
      <span>{label}</span>
      <select value={value} onChange={(e) => onChange(e.currentTarget.value as Value)}>
        {names.map(([value, name]) => (
          <option key={value} value={value}>
            {name}
          </option>
        ))}
      </select>
    </label>
  );
}

export function WholeNumber({ label, value, onChange }: { label: string; value: number | null; onChange: (number: number | null) => void }) {
  const toNumber = (text: string) => (text === "" ? null : Number(text));
  return (
    <label>
      <span>{label}</span>
      <input type="number" min="0" step="1" inputMode="numeric" value={value ?? ""} onInput={(e) => onChange(toNumber(e.currentTarget.value))} />
    </label>
  );
}

export function Text({ label, placeholder, value, onChange }: { label: string; placeholder: string; value: string; onChange: (text: string) => void }) {
  return (
    <label>
      <span>{label}</span>
      <input autoComplete="off" placeholder={placeholder} value={value} onInput={(e) => onChange(e.currentTarget.value)} />
    </label>
  );
}

export function Check({ label, checked, onChange }: { label: string; checked: boolean; onChange: (checked: boolean) => void }) {
  return (
    <label class="check">
      <input type="checkbox" checked={checked} onChange={(e) => onChange(e.currentTarget.checked)} />
      <span>{label}</span>
    </label>
  );
}

export function Group({ legend, children }: { legend: string; children: ComponentChildren }) {
  return (
    <fieldset class="wide">
      <legend>{legend}</legend>
      {children}
    </fieldset>
  );
}
