import { useEffect, useRef, useState } from "preact/hooks";
import { credentials, keyIn } from "../api/key";
import { Title } from "./title";

/** Stands in place of all that needs a key, until there is one. */
export function KeyPanel({ reason }: { reason: string }) {
  const field = useRef<HTMLInputElement>(null);
  const [text, setText] = useState("");
  const [keep, setKeep] = useState(true);
  const [fault, setFault] = useState("");
  useEffect(() => field.current!.focus(), []);

  const submit = (event: Event) => {
    event.preventDefault();
    const key = keyIn(text);
    if (key) return credentials.use(key, keep);
    setFault("That is no API key of this service: those begin with gip_. Check that it was copied as a whole.");
    field.current!.focus();
  };

  return (
    <section class="card key">
      <Title text="API key" />
      <p id="key-reason">{reason} Paste one that you were given; whoever runs the service hands them out.</p>
      {/* Without a name, so that it could not get into an address. */}
      <form onSubmit={submit} noValidate>
        <label>
          <span>Key</span>
          <input
            ref={field}
            type="password"
            autoComplete="off"
            spellcheck={false}
            placeholder="gip_…"
            required
            aria-describedby="key-reason"
            aria-invalid={fault !== ""}
            aria-errormessage={fault ? "key-fault" : undefined}
            value={text}
            onInput={(event) => setText(event.currentTarget.value)}
          />
        </label>
        {fault && (
          <p class="fault" id="key-fault" role="alert">
            {fault}
          </p>
        )}
        <label class="check">
          <input type="checkbox" checked={keep} onChange={(event) => setKeep(event.currentTarget.checked)} />
          <span>
            Keep for this tab <small>A reload does not ask again; closing the tab forgets it.</small>
          </span>
        </label>
        <button class="main">Use this key</button>
      </form>
    </section>
  );
}
