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
  const asked = useSignal(credentials.asked);
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
      {/* By its key, so that nothing that was seen with one is seen without it, or with another. */}
      <main key={key}>
        {asked !== null ? <KeyPanel reason={asked} /> : id === null ? <HomePage /> : <RequestPage key={id} id={id} />}
      </main>
      <Announcer />
    </>
  );
}
