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
import "./styles/settings.css";
import "./styles/products.css";
import "./styles/dialogs.css";

// Leaving the page stops running uploads, so the browser asks first.
addEventListener("beforeunload", (event) => uploads.sending && event.preventDefault());

// A different key may see different requests.
credentials.key.listen(() => {
  store.clear();
  uploads.accepted.set([]);
});

render(<App />, document.getElementById("app")!);
