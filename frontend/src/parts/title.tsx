import { useEffect, useRef } from "preact/hooks";

let first = true;

/** The page heading. It sets the tab title and takes the focus on navigation, so that screen readers read it. */
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
