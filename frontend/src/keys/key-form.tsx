import { useState } from "preact/hooks";
import { now } from "../api/clock";
import { CreateApiKey, type Scope } from "../api/key-operation";
import type { Change } from "../parts/use-secret";

const SCOPES: [Scope, string][] = [
  ["READ", "read: see requests, download files"],
  ["WRITE", "write: upload, cancel, retry, delete"],
  ["ADMIN", "admin: keys, webhooks, audit log"],
];
const LIFETIMES: [days: number, name: string][] = [
  [0, "never"],
  [30, "in 30 days"],
  [90, "in 90 days"],
  [365, "in a year"],
];

/** When a key expires that is valid for these days; null for 0, which is unlimited. */
export const expiryAfter = (days: number, from: number): string | null =>
  days === 0 ? null : new Date(from + days * 86_400_000).toISOString();

/** Creates a key. */
export function KeyForm({ change }: { change: Change }) {
  const [name, setName] = useState("");
  const [scopes, setScopes] = useState<Scope[]>(["READ", "WRITE"]);
  const [days, setDays] = useState(0);
  const [busy, setBusy] = useState(false);

  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    if (await change(CreateApiKey, { name, scopes, expiresAt: expiryAfter(days, now()) }, "The key was created.")) setName("");
    setBusy(false);
  };
  const toggle = (scope: Scope, chosen: boolean) =>
    setScopes((old) => (chosen ? [...old, scope] : old.filter((each) => each !== scope)));

  return (
    <form class="card" onSubmit={submit}>
      <label>
        <span>Name of a new key</span>
        <input
          autoComplete="off"
          required
          maxLength={100}
          placeholder="nightly import"
          value={name}
          onInput={(event) => setName(event.currentTarget.value)}
        />
      </label>
      <fieldset>
        <legend>It may</legend>
        {SCOPES.map(([scope, text]) => (
          <label key={scope} class="check">
            <input type="checkbox" checked={scopes.includes(scope)} onChange={(event) => toggle(scope, event.currentTarget.checked)} />
            <span>{text}</span>
          </label>
        ))}
      </fieldset>
      <label>
        <span>Expires</span>
        <select value={days} onChange={(event) => setDays(Number(event.currentTarget.value))}>
          {LIFETIMES.map(([days, text]) => (
            <option key={days} value={days}>
              {text}
            </option>
          ))}
        </select>
      </label>
      <button class="main" disabled={busy || scopes.length === 0}>
        Create key
      </button>
    </form>
  );
}
