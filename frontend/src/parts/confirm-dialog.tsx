import { Dialog } from "./dialog";

export function ConfirmDialog(props: { title: string; text: string; yes: string; no: string; onYes: () => void; onClose: () => void }) {
  return (
    <Dialog label={props.title} class="confirm" onClose={props.onClose}>
      <h2>{props.title}</h2>
      <p>{props.text}</p>
      <form method="dialog" class="actions">
        <button>{props.no}</button>
        <button class="danger filled" onClick={props.onYes}>
          {props.yes}
        </button>
      </form>
    </Dialog>
  );
}
