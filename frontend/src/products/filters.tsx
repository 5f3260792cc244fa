import { useEffect, useState } from "preact/hooks";
import type { ProductStatus, Request } from "../api/types";
import { isFinal } from "../requests/status";
import type { Place } from "./place";

//: After the last key; a search of a large file is not to be asked for each letter.
const TYPED_MS = 250;
//: As many as the API takes.
const MAX_CHARS = 200;

interface Props {
  request: Request;
  place: Place;
  onChange: (change: Partial<Place>) => void;
}

/** Which products to show: by a part of their name and by status. */
export function Filters({ request, place, onChange }: Props) {
  const [name, setName] = useState(place.name);
  useEffect(() => setName(place.name), [place.name]);
  useEffect(() => {
    if (name === place.name) return;
    const timer = setTimeout(() => onChange({ name }), TYPED_MS);
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
        <legend class="unseen">Show products that are</legend>
        {choices(request).map(([value, words]) => (
          <label key={words}>
            <input type="radio" name="status" checked={place.status === value} onChange={() => onChange({ status: value })} />
            <span>{words}</span>
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
