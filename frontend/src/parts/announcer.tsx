import { useEffect, useState } from "preact/hooks";

let say: (text: string) => void = () => {};

/** Tells screen readers something that others see for themselves. */
export const announce = (text: string): void => say(text);

export function Announcer() {
  const [text, setText] = useState("");
  useEffect(() => {
    say = setText;
  }, []);
  return (
    <div class="unseen" role="status" aria-live="polite">
      {text}
    </div>
  );
}
