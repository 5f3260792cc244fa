import { useEffect, useState } from "preact/hooks";
import { credentials } from "./api/key";
import { query } from "./api/query";
import { ViewerScopes } from "./api/webhook-operation";
import { KeysPage } from "./keys/keys-page";
import { Announcer } from "./parts/announcer";
import { ConnectionBanner } from "./parts/connection-banner";
import { KeyPanel } from "./parts/key-panel";
import { useSignal } from "./parts/use-signal";
import { HomePage } from "./requests/home-page";
import { RequestPage } from "./requests/request-page";
import { home, keys, parseRequestId, useHash, webhooks } from "./route";
import { WebhooksPage } from "./webhooks/webhooks-page";

export function App() {
  const hash = useHash();
  const key = useSignal(credentials.key);
  const admin = useIsAdmin(key);
  const prompt = useSignal(credentials.prompt);
  return (
    <>
      <ConnectionBanner />
      <header class="top">
        <a class="brand" href={home}>
          <img src="/static/favicon.svg" alt="" width="26" height="26" />
          gql_imgproc
        </a>
        <nav aria-label="Tools">
          <a href="/static/template.csv" download>
            Template CSV
          </a>
          {admin && <a href={webhooks}>Webhooks</a>}
          {admin && <a href={keys}>API keys</a>}
          <a href="/graphql">Developers</a>
          {key && (
            <button class="small" onClick={() => credentials.forget()}>
              Forget API key
            </button>
          )}
        </nav>
      </header>
      {/* Keyed by the API key: a new key starts with an empty page and sees no data of the previous key. */}
      <main key={key}>{prompt !== null ? <KeyPanel reason={prompt} /> : <Content hash={hash} />}</main>
      <Announcer />
    </>
  );
}

function Content({ hash }: { hash: string }) {
  const id = parseRequestId(hash);
  if (id !== null) return <RequestPage key={id} id={id} />;
  if (hash === webhooks) return <WebhooksPage />;
  return hash === keys ? <KeysPage /> : <HomePage />;
}

/** Whether the key has the scope ADMIN; false until that is known. */
function useIsAdmin(key: string | null): boolean {
  const [admin, setAdmin] = useState(false);
  useEffect(() => {
    setAdmin(false);
    if (key === null) return;
    query(ViewerScopes, {}).then(
      ({ viewer }) => credentials.key.value === key && setAdmin(viewer.scopes.includes("ADMIN")),
      // The page itself reports why the service does not answer.
      () => {},
    );
  }, [key]);
  return admin;
}
