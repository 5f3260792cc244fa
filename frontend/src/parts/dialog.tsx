import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";

/** A modal dialog. The browser keeps the focus inside and restores it on close. */
export function Dialog(props: { label: string; class?: string; onClose: () => void; children: ComponentChildren }) {
  const element = useRef<HTMLDialogElement>(null);
  // Text selection may start inside and end outside; that must not close the dialog.
  const pressed = useRef<EventTarget | null>(null);
  useEffect(() => {
    element.current!.showModal();
  }, []);
  return (
    <dialog
      ref={element}
      class={props.class}
      aria-label={props.label}
      onClose={props.onClose}
      onPointerDown={(event) => (pressed.current = event.target)}
      onClick={(event) => event.target === element.current && pressed.current === element.current && element.current!.close()}
    >
      <div class="inside">{props.children}</div>
    </dialog>
  );
}
