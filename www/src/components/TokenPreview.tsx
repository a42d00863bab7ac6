import type { PreviewPiece } from "postil-engine";
import { useSignal } from "@preact/signals";

/** The first examples as the model will see them, with what is trained on marked. */
export function TokenPreview({ examples }: { examples: PreviewPiece[][] }) {
  const index = useSignal(0);
  const shown = Math.min(index.value, examples.length - 1);
  return (
    <details class="preview" open>
      <summary>What the model sees</summary>
      <p class="key">
        <mark class="trained">marked and underlined</mark> is trained on; the rest is only read
      </p>
      <p class="example" tabIndex={0} role="group" aria-label={`Example ${shown + 1} of ${examples.length}`}>
        {runs(examples[shown] ?? []).map(({ text, trained }, position) =>
          trained ? (
            <mark class="trained" key={position}>
              <span class="sr-only">[trained on: </span>
              {visible(text)}
              <span class="sr-only">]</span>
            </mark>
          ) : (
            <span key={position}>{visible(text)}</span>
          ),
        )}
      </p>
      {examples.length > 1 && (
        <p class="pager">
          <button type="button" disabled={shown === 0} onClick={() => (index.value = shown - 1)}>
            Previous
          </button>
          <span>
            Example {shown + 1} of {examples.length}
          </span>
          <button type="button" disabled={shown === examples.length - 1} onClick={() => (index.value = shown + 1)}>
            Next
          </button>
        </p>
      )}
    </details>
  );
}

/** Neighbouring pieces of the same kind as one: fewer elements, and one announcement each. */
function runs(pieces: PreviewPiece[]): PreviewPiece[] {
  const joined: PreviewPiece[] = [];
  for (const { text, trained } of pieces) {
    const last = joined.at(-1);
    if (last && last.trained === trained) last.text += text;
    else joined.push({ text, trained });
  }
  return joined;
}

/** Line ends decide formats, so they are shown. */
function visible(text: string): string {
  return text.replaceAll("\n", "↵\n");
}
