import { credentials } from "./api/key";
import { Announcer } from "./parts/announcer";
import { ConnectionBanner } from "./parts/connection-banner";
import { KeyPanel } from "./parts/key-panel";
import { useSignal } from "./parts/use-signal";
import { HomePage } from "./requests/home-page";
import { RequestPage } from "./requests/request-page";
import { home, useRoute } from "./route";

export function App() {
  const id = useRoute();
  const key = useSignal(credentials.key);
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
          <a href="/graphql">Developers</a>
          {key && (
            <button class="small" onClick={() => credentials.forget()}>
              Forget API key
            </button>
          )}
        </nav>
      </header>
      {/* Keyed by the API key: a new key starts with an empty page and sees no data of the previous key. */}
      <main key={key}>
        {prompt !== null ? <KeyPanel reason={prompt} /> : id === null ? <HomePage /> : <RequestPage key={id} id={id} />}
      </main>
      <Announcer />
    </>
  );
}
