import { useEffect, useState } from "preact/hooks";
import type { ProductStatus, Request } from "../api/types";
import { isFinal } from "../requests/status";
import type { ListState } from "./list-state";

//: Wait after the last key, so that not every letter starts a search.
const DEBOUNCE_MS = 250;
//: The limit of the API.
const MAX_CHARS = 200;

interface Props {
  request: Request;
  state: ListState;
  onChange: (change: Partial<ListState>) => void;
}

/** Filters products by part of their name and by status. */
export function Filters({ request, state, onChange }: Props) {
  const [name, setName] = useState(state.name);
  useEffect(() => setName(state.name), [state.name]);
  useEffect(() => {
    if (name === state.name) return;
    const timer = setTimeout(() => onChange({ name }), DEBOUNCE_MS);
    return () => clearTimeout(timer);
  }, [name]);

  return (
    <div class="filters">
      <input
        type="search"
        aria-label="Search products by name"
        placeholder="Search by name"
        maxLength={MAX_CHARS}
        value={name}
        onInput={(event) => setName(event.currentTarget.value)}
      />
      <fieldset class="segments">
        <legend class="visually-hidden">Show products that are</legend>
        {choices(request).map(([value, label]) => (
          <label key={label}>
            <input type="radio" name="status" checked={state.status === value} onChange={() => onChange({ status: value })} />
            <span>{label}</span>
          </label>
        ))}
      </fieldset>
    </div>
  );
}

type Choice = [ProductStatus | null, string];

function choices(request: Request): Choice[] {
  const choices: Choice[] = [
    [null, "All"],
    ["COMPLETED", "Done"],
    ["COMPLETED_WITH_ERRORS", "Some failed"],
    ["FAILED", "Failed"],
  ];
  if (!isFinal(request)) choices.push(["PENDING", "Waiting"]);
  if (request.cancelledImages) choices.push(["CANCELLED", "Cancelled"]);
  return choices;
}
