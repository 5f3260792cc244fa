import { useState } from "preact/hooks";
import { credentials } from "../api/key";
import { RevokeApiKey, RotateApiKey, type ApiKey } from "../api/key-operation";
import { ConfirmDialog } from "../parts/confirm-dialog";
import { Timestamp } from "../parts/timestamp";
import type { Change } from "../parts/use-secret";

export const isValid = ({ state }: ApiKey): boolean => state === "USABLE" || state === "ROTATED";

const STATES: Record<string, readonly [label: string, tone: string]> = {
  USABLE: ["valid", "good"],
  ROTATED: ["replaced", "warn"],
  EXPIRED: ["expired", "bad"],
  REVOKED: ["revoked", "bad"],
};

/** A key with its actions. Its secret is known only to its owner. */
export function KeyCard({ apiKey, change }: { apiKey: ApiKey; change: Change }) {
  const { id, name, publicId, scopes, state, createdAt, expiresAt, lastUsedAt } = apiKey;
  const [confirming, setConfirming] = useState(false);
  const [label, tone] = STATES[state] ?? [state.toLowerCase(), ""];
  const isOwn = credentials.key.value?.split("_")[1] === publicId;
  return (
    <li class="card">
      <div class="line">
        <h2>
          <bdi>{name}</bdi> {isOwn && <small>the key you use now</small>}
        </h2>
        <span class={`badge ${tone}`}>{label}</span>
      </div>
      <p class="facts">
        <span>
          <code>gip_{publicId}_…</code>
        </span>
        <span>{scopes.map((scope) => scope.toLowerCase()).join(", ")}</span>
        <span>
          created <Timestamp at={createdAt} />
        </span>
        <span>{lastUsedAt ? <>last used <Timestamp at={lastUsedAt} /></> : "never used"}</span>
        {expiresAt && state !== "REVOKED" && (
          <span>
            {state === "EXPIRED" ? "expired" : "expires"} <Timestamp at={expiresAt} />
          </span>
        )}
      </p>
      {isValid(apiKey) && (
        <div class="actions" role="group" aria-label={`Actions of ${name}`}>
          {state === "USABLE" && (
            <button class="small" onClick={() => change(RotateApiKey, { id }, "A new key was created.")}>
              Replace
            </button>
          )}
          <button class="small danger" onClick={() => setConfirming(true)}>
            Revoke
          </button>
        </div>
      )}
      {confirming && (
        <ConfirmDialog
          title={`Revoke ${name}?`}
          text={
            isOwn
              ? "This is the key you use now: this page will ask for another one."
              : "Programs that use it are refused at once. To change a key without an interruption, replace it."
          }
          yes="Revoke the key"
          no="Keep"
          onYes={() => change(RevokeApiKey, { id }, "The key was revoked.")}
          onClose={() => setConfirming(false)}
        />
      )}
    </li>
  );
}
