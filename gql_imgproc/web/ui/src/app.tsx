import { Announcer } from "./parts/announcer";
import { ConnectionBanner } from "./parts/connection-banner";
import { HomePage } from "./requests/home-page";
import { RequestPage } from "./requests/request-page";
import { home, useRoute } from "./route";

export function App() {
  const id = useRoute();
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
        </nav>
      </header>
      <main>{id === null ? <HomePage /> : <RequestPage key={id} id={id} />}</main>
      <Announcer />
    </>
  );
}
