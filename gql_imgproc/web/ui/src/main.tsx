import { render } from "preact";
import { App } from "./app";
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

render(<App />, document.getElementById("app")!);
