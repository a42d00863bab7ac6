import { useSignal } from "@preact/signals";
import { useId } from "preact/hooks";
import { kindOf, takeText, type PastedKind } from "../session/data";
import { SelectField } from "./Fields";

const KINDS: Record<PastedKind, string> = {
  jsonl: "JSON Lines",
  json: "JSON",
  csv: "CSV",
  tsv: "TSV",
  txt: "plain text",
};

/** Training data as text, written or pasted here. */
export function Paste() {
  const id = useId();
  const text = useSignal("");
  const chosen = useSignal<PastedKind | "">("");
  const found = kindOf(text.value);
  const isEmpty = text.value.trim() === "";
  return (
    <details>
      <summary>Paste text instead</summary>
      <div class="bare">
        <div class="field">
          <label for={id}>Examples</label>
          <textarea
            id={id}
            rows={6}
            spellcheck={false}
            value={text.value}
            aria-describedby={`${id}-hint`}
            placeholder={'{"prompt": "…", "completion": "…"}'}
            onInput={({ currentTarget }) => (text.value = currentTarget.value)}
          />
          <small id={`${id}-hint`} class="hint">
            One JSON object a line, a table with a line of column names, or plain text to go on with.
          </small>
        </div>
        <SelectField
          label="Read the text as"
          hint="To be changed if the guess is wrong"
          value={chosen.value}
          options={[
            ["", isEmpty ? "what it looks like" : `what it looks like: ${KINDS[found]}`],
            ...Object.entries(KINDS),
          ]}
          onChange={(kind) => (chosen.value = kind as PastedKind | "")}
        />
        <p class="actions">
          <button type="button" disabled={isEmpty} onClick={() => void takeText(text.value, chosen.value || found)}>
            Use this text
          </button>
        </p>
      </div>
    </details>
  );
}
