import { useEffect, useState } from "preact/hooks";
import type { Signal } from "../api/signal";

/** The value of a signal; the component renders again when it changes. */
export function useSignal<Value>(signal: Signal<Value>): Value {
  const [value, setValue] = useState(() => signal.value);
  useEffect(() => {
    const read = () => setValue(() => signal.value);
    read();
    return signal.listen(read);
  }, [signal]);
  return value;
}
