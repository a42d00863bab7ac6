import { useSignal } from "@preact/signals";

/** How long the button says what became of it. */
const SAID_MS = 4000;

/** Puts a text on the clipboard. */
export function CopyButton({ text, what }: { text: string; what: string }) {
  const news = useSignal("");
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      news.value = "Copied.";
    } catch {
      news.value = "The browser refused; select the text and copy it.";
    }
    setTimeout(() => (news.value = ""), SAID_MS);
  };
  return (
    <span class="actions">
      <button type="button" onClick={() => void copy()}>
        Copy {what}
      </button>
      <small role="status">{news.value}</small>
    </span>
  );
}
