import { useEffect, useRef } from "preact/hooks";

let first = true;

/** The heading of a page: names the tab and takes the focus when the page changes, so that a screen reader reads it. */
export function Title({ text }: { text: string }) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = `${text} · gql_imgproc`;
  }, [text]);
  useEffect(() => {
    if (first) first = false;
    else heading.current!.focus();
  }, []);
  return (
    <h1 ref={heading} tabIndex={-1}>
      <bdi>{text}</bdi>
    </h1>
  );
}
