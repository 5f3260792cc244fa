import { useEffect, useState } from "preact/hooks";
import type { ChangeKind, Changes, ProductStatus, Request } from "../api/types";
import { formatCount } from "../format";
import { Timestamp } from "../parts/timestamp";
import { isFinal } from "../requests/status";
import { requestHref } from "../route";
import { start, type ListState } from "./list-state";

//: Wait after the last key, so that not every letter starts a search.
const DEBOUNCE_MS = 250;
//: The limit of the API.
const MAX_CHARS = 200;

interface Props {
  request: Request;
  state: ListState;
  /** How the request differs from an earlier one; null if there is none. */
  changes: Changes | null;
  onChange: (change: Partial<ListState>) => void;
}

/** Filters products by part of their name and by status, or by how they changed. */
export function Filters({ request, state, changes, onChange }: Props) {
  const [name, setName] = useState(state.name);
  useEffect(() => setName(state.name), [state.name]);
  useEffect(() => {
    if (name === state.name) return;
    const timer = setTimeout(() => onChange({ name, change: null }), DEBOUNCE_MS);
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
            <input
              type="radio"
              name="status"
              checked={!state.change && state.status === value}
              onChange={() => onChange({ status: value, change: null })}
            />
            <span>{label}</span>
          </label>
        ))}
      </fieldset>
      {changes && <ChangeFilter changes={changes} selected={state.change} onSelect={(change) => onChange({ ...start, change })} />}
    </div>
  );
}

const CHANGES: [ChangeKind, keyof Changes["productCounts"], string][] = [
  ["CHANGED", "changed", "changed"],
  ["ADDED", "added", "new"],
  ["GONE", "gone", "gone"],
  ["UNCHANGED", "unchanged", "unchanged"],
];

interface ChangeFilterProps {
  changes: Changes;
  selected: ChangeKind | null;
  onSelect: (change: ChangeKind) => void;
}

/** Counts of products by how they changed. The radio buttons are in one group with the statuses. */
function ChangeFilter({ changes: { sinceId, sinceCreatedAt, productCounts }, selected, onSelect }: ChangeFilterProps) {
  return (
    <div class="changes">
      <a href={requestHref(sinceId)}>
        Since the upload <Timestamp at={sinceCreatedAt} />
      </a>
      <fieldset class="segments">
        <legend class="visually-hidden">Show products that, since the earlier upload, are</legend>
        {CHANGES.map(([kind, name, label]) => (
          <label key={kind}>
            <input type="radio" name="status" checked={selected === kind} disabled={!productCounts[name]} onChange={() => onSelect(kind)} />
            <span>
              {formatCount(productCounts[name])} {label}
            </span>
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
