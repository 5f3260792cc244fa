import { useCallback, useEffect, useState } from "preact/hooks";
import { ApiKeys, type ApiKey } from "../api/key-operation";
import { query } from "../api/query";
import { formatCount } from "../format";
import { Notice } from "../parts/notice";
import { Title } from "../parts/title";
import { useSecret } from "../parts/use-secret";
import { isValid, KeyCard } from "./key-card";
import { KeyForm } from "./key-form";

/** The API keys of the tenant, for keys with the scope ADMIN. */
export function KeysPage() {
  const [keys, setKeys] = useState<readonly ApiKey[] | null>(null);
  const [end, setEnd] = useState<string | null>(null);

  const loadFrom = useCallback(async (after: string | null) => {
    const { nodes, pageInfo } = (await query(ApiKeys, { after })).apiKeys;
    setKeys((old) => (after === null ? nodes : [...(old ?? []), ...nodes]));
    setEnd(pageInfo.hasNextPage ? pageInfo.endCursor : null);
  }, []);
  const { error, setError, secret, setSecret, change } = useSecret(() => loadFrom(null));
  const load = (after: string | null) => loadFrom(after).catch((error: Error) => setError(error.message));
  useEffect(() => void load(null), []);

  const valid = keys?.filter(isValid) ?? [];
  const invalid = keys?.filter((key) => !isValid(key)) ?? [];
  const card = (key: ApiKey) => <KeyCard key={key.id} apiKey={key} change={change} />;
  return (
    <div class="settings">
      <Title text="API keys" />
      <p class="lead">Each program and each person gets a key of its own, so that one can be replaced without the others.</p>
      {error && <Notice tone="bad" title={error} />}
      {secret && (
        <Notice title="Copy this key now" action={{ text: "Copied", run: () => setSecret(null) }}>
          <code>{secret}</code>
          <br />
          It is not shown again.
        </Notice>
      )}
      <KeyForm change={change} />
      <ul class="list">{valid.map(card)}</ul>
      {invalid.length > 0 && (
        <details>
          <summary>{formatCount(invalid.length)} expired or revoked</summary>
          <ul class="list">{invalid.map(card)}</ul>
        </details>
      )}
      {end && (
        <button class="more" onClick={() => load(end)}>
          Show older keys
        </button>
      )}
    </div>
  );
}
