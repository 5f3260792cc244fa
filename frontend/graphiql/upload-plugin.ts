import { GraphiQL, React, type EditorContext } from "./globals";
import { fillVariables, newest, PROGRESS, uploadText, type Subject } from "./samples";
import { curlCommand, parseHeaders, selection, upload, uploadOperation } from "./upload";

const h = React.createElement;

/** A GraphiQL plugin, since GraphiQL itself cannot upload files. */
export const uploadPlugin = { title: "Upload a CSV", icon: Icon, content: Panel };

function Icon() {
  return h(
    "svg",
    { viewBox: "0 0 24 24", fill: "none", stroke: "currentColor", strokeWidth: 1.5, "aria-hidden": true },
    h("path", { d: "M12 16V4m0 0L7 9m5-5 5 5M4 16v4h16v-4" }),
  );
}

interface Answer {
  data?: { uploadCsv?: { request?: { id: string; products: { edges: { node: { id: string } }[] } } } };
}

/** Returns the new request, if the file was accepted. */
function subjectOf(answer: Answer): Subject | null {
  const request = answer.data?.uploadCsv?.request;
  return request ? { id: request.id, productId: request.products.edges[0]?.node.id ?? "" } : null;
}

/** Returns a function that fills the subject into the variables of every tab, also of those that are opened later. */
function useFillSamples(): (subject: Subject) => void {
  const editors = React.useRef<EditorContext | null>(null);
  // The editors when the response arrives, not when the file was sent.
  editors.current = GraphiQL.React.useEditorContext();
  return (subject) => {
    Object.assign(newest, subject);
    const { tabs, activeTabIndex, variableEditor, updateActiveTabValues } = editors.current!;
    // GraphiQL has no function to change background tabs, so change the objects that it displays and stores.
    for (const tab of tabs) tab.variables = fillVariables(subject, tab.variables);
    const variables = tabs[activeTabIndex]?.variables ?? "";
    variableEditor?.setValue(variables);
    updateActiveTabValues({ variables });
  };
}

function Panel() {
  const { tabs, changeTab, headerEditor } = GraphiQL.React.useEditorContext();
  const fillSamples = useFillSamples();
  const [file, setFile] = React.useState<File | null>(selection.file);
  const [inputText, setInputText] = React.useState('{\n  "priority": "NORMAL",\n  "options": { "quality": 50 }\n}');
  const [answer, setAnswer] = React.useState<Answer | null>(null);
  const [error, setError] = React.useState("");
  const [busy, setBusy] = React.useState(false);

  const choose = (file: File | null) => {
    selection.file = file;
    setFile(file);
  };

  let input: object | null = null;
  try {
    input = JSON.parse(inputText) as object;
  } catch {
    // The message below the field reports this.
  }
  const subscribing = tabs.findIndex((tab) => tab.title === PROGRESS);

  const send = async (event: Event) => {
    event.preventDefault();
    if (!file || !input) return;
    setBusy(true);
    setError("");
    try {
      const answer = (await upload(file, uploadOperation(input), parseHeaders(headerEditor?.getValue() ?? ""))) as Answer;
      setAnswer(answer);
      const subject = subjectOf(answer);
      if (subject) fillSamples(subject);
    } catch {
      setError("The server can’t be reached.");
    }
    setBusy(false);
  };

  return h(
    "form",
    { className: "upload-panel", onSubmit: send },
    h("h2", null, "Upload a CSV"),
    h(
      "p",
      null,
      "Files are sent as ",
      h("code", null, "multipart/form-data"),
      ", together with the operation. This form sends ",
      h("code", null, "uploadCsv"),
      " this way. ",
      h("a", { href: "/static/template.csv", download: true }, "Template CSV"),
    ),
    h(
      "label",
      null,
      "File (input.file)",
      h("input", {
        type: "file",
        accept: ".csv,.tsv,.txt,.xlsx,.xlsm,.xlsb,.xls,.ods,text/csv",
        required: true,
        onChange: (event: { target: HTMLInputElement }) => choose(event.target.files?.[0] ?? null),
      }),
    ),
    h(
      "label",
      null,
      "Other input fields",
      h("textarea", {
        rows: 5,
        spellCheck: false,
        value: inputText,
        "aria-invalid": input === null,
        onChange: (event: { target: HTMLTextAreaElement }) => setInputText(event.target.value),
      }),
    ),
    input === null && h("p", { role: "alert" }, "Invalid JSON."),
    h("button", { type: "submit", disabled: busy || input === null }, busy ? "Sending …" : "Send"),
    h(
      "div",
      { "aria-live": "polite" },
      error && h("p", null, error),
      answer !== null && h("pre", { tabIndex: 0, "aria-label": "Answer" }, JSON.stringify(answer, null, 2)),
      answer && subjectOf(answer) && h("p", null, "The other tabs now use this request."),
      answer &&
        subjectOf(answer) &&
        subscribing >= 0 &&
        h("button", { type: "button", onClick: () => changeTab(subscribing) }, "Show the subscription"),
    ),
    h("details", null, h("summary", null, "Operation"), h("pre", { tabIndex: 0 }, uploadText)),
    h("details", null, h("summary", null, "As a curl command"), h("pre", { tabIndex: 0 }, curlCommand(file?.name ?? "products.csv", input ?? {}))),
  );
}
