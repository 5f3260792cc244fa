import { useEffect, useState } from "preact/hooks";

let setAnnouncement: (text: string) => void = () => {};

/** Announces a visual change to screen readers. */
export const announce = (text: string): void => setAnnouncement(text);

export function Announcer() {
  const [text, setText] = useState("");
  useEffect(() => {
    setAnnouncement = setText;
  }, []);
  return (
    <div class="visually-hidden" role="status" aria-live="polite">
      {text}
    </div>
  );
}
