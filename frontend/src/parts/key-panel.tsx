import { useEffect, useRef, useState } from "preact/hooks";
import { credentials, parseKey } from "../api/key";
import { Title } from "./title";

/** Asks for an API key; replaces all content that needs one. */
export function KeyPanel({ reason }: { reason: string }) {
  const field = useRef<HTMLInputElement>(null);
  const [text, setText] = useState("");
  const [remember, setRemember] = useState(true);
  const [error, setError] = useState("");
  useEffect(() => field.current!.focus(), []);

  const submit = (event: Event) => {
    event.preventDefault();
    const key = parseKey(text);
    if (key) return credentials.use(key, { remember });
    setError("Invalid API key: it must start with gip_ and have 57 characters. Copy the whole key.");
    field.current!.focus();
  };

  return (
    <section class="card key">
      <Title text="API key" />
      <p id="key-reason">{reason} Paste your key here. If you have none, ask the operator of this service.</p>
      {/* The input has no name, so the browser can never put the key into a URL. */}
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
            aria-invalid={error !== ""}
            aria-errormessage={error ? "key-error" : undefined}
            value={text}
            onInput={(event) => setText(event.currentTarget.value)}
          />
        </label>
        {error && (
          <p class="error" id="key-error" role="alert">
            {error}
          </p>
        )}
        <label class="check">
          <input type="checkbox" checked={remember} onChange={(event) => setRemember(event.currentTarget.checked)} />
          <span>
            Remember in this tab <small>The key survives a reload and is removed when you close the tab.</small>
          </span>
        </label>
        <button class="main">Use this key</button>
      </form>
    </section>
  );
}
