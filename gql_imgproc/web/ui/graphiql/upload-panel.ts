import { GraphiQL, React } from "./globals";
import { subscription, uploadText, variablesFor } from "./samples";
import { curlFor, upload } from "./upload";

const h = React.createElement;

/** A GraphiQL plugin, since GraphiQL itself can't send files. */
export const uploadPlugin = { title: "Upload a CSV", icon: Icon, content: Panel };

function Icon() {
  return h(
    "svg",
    { viewBox: "0 0 24 24", fill: "none", stroke: "currentColor", strokeWidth: 1.5, "aria-hidden": true },
    h("path", { d: "M12 16V4m0 0L7 9m5-5 5 5M4 16v4h16v-4" }),
  );
}

function Panel() {
  const { addTab, queryEditor, variableEditor } = GraphiQL.React.useEditorContext();
  const [file, setFile] = React.useState<File | null>(null);
  const [inputText, setInputText] = React.useState('{\n  "priority": "NORMAL",\n  "options": { "quality": 50 }\n}');
  const [answer, setAnswer] = React.useState<unknown>(null);
  const [fault, setFault] = React.useState("");
  const [busy, setBusy] = React.useState(false);

  // A new tab becomes the current one in the next drawing; only then its editors are empty and can be filled.
  const waiting = React.useRef<string | null>(null);
  const [round, setRound] = React.useState(0);
  React.useEffect(() => {
    if (waiting.current === null) return;
    queryEditor?.setValue(subscription);
    variableEditor?.setValue(variablesFor(waiting.current));
    waiting.current = null;
  }, [round]);

  let input: object | null = null;
  try {
    input = JSON.parse(inputText) as object;
  } catch {
    // Shown below the field.
  }
  const id = (answer as { data?: { uploadCsv?: { request?: { id: string } } } } | null)?.data?.uploadCsv?.request?.id;

  const send = async (event: Event) => {
    event.preventDefault();
    if (!file || !input) return;
    setBusy(true);
    setFault("");
    try {
      setAnswer(await upload(file, input));
    } catch {
      setFault("The server can’t be reached.");
    }
    setBusy(false);
  };

  const watch = () => {
    waiting.current = id ?? null;
    addTab();
    setRound(round + 1);
  };

  return h(
    "form",
    { className: "upload-panel", onSubmit: send },
    h("h2", null, "Upload a CSV"),
    h(
      "p",
      null,
      "Files travel as ",
      h("code", null, "multipart/form-data"),
      " beside the operation. This form sends ",
      h("code", null, "uploadCsv"),
      " that way. ",
      h("a", { href: "/static/template.csv", download: true }, "Template CSV"),
    ),
    h(
      "label",
      null,
      "File (input.file)",
      h("input", {
        type: "file",
        accept: ".csv,text/csv",
        required: true,
        onChange: (event: { target: HTMLInputElement }) => setFile(event.target.files?.[0] ?? null),
      }),
    ),
    h(
      "label",
      null,
      "The rest of the input",
      h("textarea", {
        rows: 5,
        spellCheck: false,
        value: inputText,
        "aria-invalid": input === null,
        onChange: (event: { target: HTMLTextAreaElement }) => setInputText(event.target.value),
      }),
    ),
    input === null && h("p", { role: "alert" }, "This is not JSON."),
    h("button", { type: "submit", disabled: busy || input === null }, busy ? "Sending …" : "Send"),
    h(
      "div",
      { "aria-live": "polite" },
      fault && h("p", null, fault),
      answer !== null && h("pre", { tabIndex: 0, "aria-label": "Answer" }, JSON.stringify(answer, null, 2)),
      id && h("button", { type: "button", onClick: watch }, "Watch it in a new tab"),
    ),
    h("details", null, h("summary", null, "The operation"), h("pre", { tabIndex: 0 }, uploadText)),
    h("details", null, h("summary", null, "The same with curl"), h("pre", { tabIndex: 0 }, curlFor(file?.name ?? "products.csv", input ?? {}))),
  );
}
