// Types for the globals that the browser builds of GraphiQL and React set, as far as this page uses them.

export type Element = unknown;
export type Component = (props: never) => Element;

interface Editor {
  getValue(): string;
  setValue(text: string): void;
}

interface TabState {
  title: string;
  query: string | null;
  variables: string | null;
}

export interface EditorContext {
  tabs: TabState[];
  activeTabIndex: number;
  changeTab(index: number): void;
  addTab(): void;
  updateActiveTabValues(values: Partial<TabState>): void;
  queryEditor: (Editor & { operationName: string | null }) | null;
  variableEditor: Editor | null;
  headerEditor: Editor | null;
}

/** A syntax tree, opaque to this page. */
export type Document = object;

interface Globals {
  React: {
    createElement(type: unknown, props?: object | null, ...children: unknown[]): Element;
    useState<T>(start: T): [T, (next: T) => void];
    useEffect(effect: () => void, dependencies: unknown[]): void;
    useRef<T>(start: T): { current: T };
  };
  ReactDOM: { createRoot(at: HTMLElement): { render(element: Element): void } };
  GraphiQL: Component & {
    Logo: Component;
    createFetcher(options: object): unknown;
    GraphQL: {
      parse(text: string): Document;
      getOperationAST(document: Document, name?: string | null): { name?: { value: string } } | null;
    };
    React: {
      useEditorContext(): EditorContext;
    };
  };
}

export const { React, ReactDOM, GraphiQL } = window as unknown as Globals;
