import { useEffect, useState } from "preact/hooks";
import { onSocketState, reconnect, socketState } from "../api/socket";

//: A blink of the network shorter than this is nobody's business.
const SHOW_AFTER_MS = 1_000;

export function ConnectionBanner() {
  const [lost, setLost] = useState(false);
  useEffect(() => {
    let timer = 0;
    const read = () => {
      clearTimeout(timer);
      if (socketState() === "lost") timer = window.setTimeout(() => setLost(true), SHOW_AFTER_MS);
      else setLost(false);
    };
    read();
    const stop = onSocketState(read);
    return () => {
      clearTimeout(timer);
      stop();
    };
  }, []);
  return (
    <div role="alert">
      {lost && (
        <div class="banner">
          <span>
            <strong>Connection lost.</strong> Work goes on at the server; the figures here catch up as soon as it answers.
          </span>
          <button class="small" onClick={reconnect}>
            Try now
          </button>
        </div>
      )}
    </div>
  );
}
