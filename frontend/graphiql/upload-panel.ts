import { GraphiQL, React, type EditorContext } from "./globals";
import { about, PROGRESS, uploadText, type Subject } from "./samples";
import { chosen, curlFor, headersIn, operationFor, upload } from "./upload";

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

interface Answer {
  data?: { uploadCsv?: { request?: { id: string; products: { edges: { node: { id: string } }[] } } } };
}

/** What the samples can be about now, if the file was accepted. */
function subjectOf(answer: Answer): Subject | null {
  const request = answer.data?.uploadCsv?.request;
  return request ? { id: request.id, productId: request.products.edges[0]?.node.id ?? "" } : null;
}

/** Puts a subject into the variables of every tab. */
function useSamples(): (subject: Subject) => void {
  const editors = React.useRef<EditorContext | null>(null);
  // As they are when the answer comes, not when the file was sent.
  editors.current = GraphiQL.React.useEditorContext();
  return (subject) => {
    const { tabs, activeTabIndex, variableEditor, updateActiveTabValues } = editors.current!;
    // There is no function for the tabs in the background; these are the objects that GraphiQL shows and stores.
    for (const tab of tabs) tab.variables = about(subject, tab.variables);
    const variables = tabs[activeTabIndex]?.variables ?? "";
    variableEditor?.setValue(variables);
    updateActiveTabValues({ variables });
  };
}

function Panel() {
  const { tabs, changeTab, headerEditor } = GraphiQL.React.useEditorContext();
  const fillSamples = useSamples();
  const [file, setFile] = React.useState<File | null>(chosen.file);
  const [inputText, setInputText] = React.useState('{\n  "priority": "NORMAL",\n  "options": { "quality": 50 }\n}');
  const [answer, setAnswer] = React.useState<Answer | null>(null);
  const [fault, setFault] = React.useState("");
  const [busy, setBusy] = React.useState(false);

  const choose = (file: File | null) => {
    chosen.file = file;
    setFile(file);
  };

  let input: object | null = null;
  try {
    input = JSON.parse(inputText) as object;
  } catch {
    // Shown below the field.
  }
  const subscribing = tabs.findIndex((tab) => tab.title === PROGRESS);

  const send = async (event: Event) => {
    event.preventDefault();
    if (!file || !input) return;
    setBusy(true);
    setFault("");
    try {
      const answer = (await upload(file, operationFor(input), headersIn(headerEditor?.getValue() ?? ""))) as Answer;
      setAnswer(answer);
      const subject = subjectOf(answer);
      if (subject) fillSamples(subject);
    } catch {
      setFault("The server can’t be reached.");
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
        onChange: (event: { target: HTMLInputElement }) => choose(event.target.files?.[0] ?? null),
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
      answer && subjectOf(answer) && h("p", null, "The other tabs are about this request now."),
      answer &&
        subjectOf(answer) &&
        subscribing >= 0 &&
        h("button", { type: "button", onClick: () => changeTab(subscribing) }, "Show the subscription"),
    ),
    h("details", null, h("summary", null, "The operation"), h("pre", { tabIndex: 0 }, uploadText)),
    h("details", null, h("summary", null, "The same with curl"), h("pre", { tabIndex: 0 }, curlFor(file?.name ?? "products.csv", input ?? {}))),
  );
}
