import { useEffect, useRef } from "preact/hooks";
import { useSignal } from "@preact/signals";

/** How long the button says that it has copied. */
const SAID_MS = 2000;

/** Copies a text; `what` completes the name for those who do not see what stands beside it. */
export function CopyButton({ text, what }: { text: string; what: string }) {
  const said = useSignal("");
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      said.value = "Copied";
    } catch {
      said.value = "Not allowed by the browser";
    }
    clearTimeout(timer.current);
    timer.current = setTimeout(() => (said.value = ""), SAID_MS);
  };
  return (
    <>
      <button type="button" class="small" disabled={text === ""} onClick={() => void copy()}>
        {said.value || "Copy"}
        <span class="sr-only"> {what}</span>
      </button>
      <span class="sr-only" role="status">
        {said.value}
      </span>
    </>
  );
}
