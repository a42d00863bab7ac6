import type { PreviewPiece } from "postil";
import { useSignal } from "@preact/signals";

/** The first examples as the model will see them, with what is trained on marked. */
export function TokenPreview({ examples }: { examples: PreviewPiece[][] }) {
  const index = useSignal(0);
  const shown = Math.min(index.value, examples.length - 1);
  return (
    <details class="preview" open>
      <summary>What the model sees</summary>
      <p class="key">
        <mark class="trained">marked and underlined</mark> is trained on; the rest is only read. Thin lines part the tokens.
      </p>
      <p class="example" tabIndex={0} role="group" aria-label={`Example ${shown + 1} of ${examples.length}`}>
        {runs(examples[shown] ?? []).map(({ texts, trained }, position) =>
          trained ? (
            <mark class="trained" key={position}>
              <span class="sr-only">[trained on: </span>
              <Tokens texts={texts} />
              <span class="sr-only">]</span>
            </mark>
          ) : (
            <span key={position}>
              <Tokens texts={texts} />
            </span>
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

function Tokens({ texts }: { texts: string[] }) {
  return (
    <>
      {texts.map((text, position) => (
        <span class="token" key={position}>
          {visible(text)}
        </span>
      ))}
    </>
  );
}

/** Neighbouring tokens of the same kind together: one announcement each. */
function runs(pieces: PreviewPiece[]): { texts: string[]; trained: boolean }[] {
  const joined: { texts: string[]; trained: boolean }[] = [];
  for (const { text, trained } of pieces) {
    const last = joined.at(-1);
    if (last && last.trained === trained) last.texts.push(text);
    else joined.push({ texts: [text], trained });
  }
  return joined;
}

/** Line ends decide formats, so they are shown. */
function visible(text: string): string {
  return text.replaceAll("\n", "↵\n");
}
