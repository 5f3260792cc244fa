import type { ComponentChildren } from "preact";

/** A box for an error, or for a list without entries. */
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
