import { render } from "preact";
import { App } from "./app";
import "./styles/base.css";
import "./styles/frame.css";
import "./styles/parts.css";
import "./styles/upload.css";
import "./styles/requests.css";
import "./styles/products.css";
import "./styles/dialogs.css";

render(<App />, document.getElementById("app")!);
