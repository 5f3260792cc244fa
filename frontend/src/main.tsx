import { render } from "preact";
import { credentials } from "./api/key";
import { App } from "./app";
import { store } from "./progress/store";
import { uploads } from "./upload/uploads";
import "./styles/base.css";
import "./styles/frame.css";
import "./styles/parts.css";
import "./styles/upload.css";
import "./styles/requests.css";
import "./styles/products.css";
import "./styles/dialogs.css";

// Leaving would stop them; the browser asks whether that is meant.
addEventListener("beforeunload", (event) => uploads.sending && event.preventDefault());

// Another key may see other requests.
credentials.key.listen(() => {
  store.clear();
  uploads.accepted.set([]);
});

render(<App />, document.getElementById("app")!);
