import type { ComponentChildren } from "preact";

/** The designed form of "something went wrong" or "there is nothing here". */
export function Notice(props: {
  title: string;
  tone?: "bad";
  children?: ComponentChildren;
  action?: { text: string; run: () => void };
}) {
  return (
    <div class={`notice ${props.tone ?? ""}`} role={props.tone === "bad" ? "alert" : undefined}>
      <strong>{props.title}</strong>
      {props.children && <p>{props.children}</p>}
      {props.action && (
        <button class="small" onClick={props.action.run}>
          {props.action.text}
        </button>
      )}
    </div>
  );
}
