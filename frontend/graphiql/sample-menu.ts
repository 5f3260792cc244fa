import { GraphiQL, React } from "./globals";
import { menu, type Sample } from "./samples";

const h = React.createElement;

/** Opens a sample in a tab of its own, or the tab that has it already. */
export function SampleMenu() {
  const { tabs, changeTab, addTab, updateActiveTabValues, queryEditor, variableEditor } = GraphiQL.React.useEditorContext();
  const opening = React.useRef<[string, Sample] | null>(null);

  // GraphiQL has no function to add a tab with content, so the new tab gets it as soon as it and the editor are there.
  React.useEffect(() => {
    if (!opening.current || !queryEditor) return;
    const [operationName, { query, variables = "" }] = opening.current;
    opening.current = null;
    queryEditor.setValue(query);
    // GraphiQL would keep the name of the previous tab for 0.1 s, and give it to this one if another is opened then.
    queryEditor.operationName = operationName;
    variableEditor?.setValue(variables);
    updateActiveTabValues({ query, variables });
  }, [tabs.length, queryEditor]);

  const open = (title: string) => {
    const index = tabs.findIndex((tab) => tab.title === title);
    if (index >= 0) return changeTab(index);
    opening.current = [title, menu().get(title)!];
    // In a task of its own. React would handle the choice before earlier changes that it has not rendered yet, and then
    // run `addTab` once more, after the tab has got its content: GraphiQL would replace that with its default.
    setTimeout(addTab);
  };

  return h(
    "select",
    {
      className: "sample-menu",
      "aria-label": "More samples",
      // Choosing the same sample again is a change, too.
      value: "",
      onChange: (event: { target: HTMLSelectElement }) => open(event.target.value),
    },
    h("option", { value: "", disabled: true }, "More samples"),
    ...[...menu().keys()].map((title) => h("option", { key: title }, title)),
  );
}
