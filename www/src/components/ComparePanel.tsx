import { useId, useRef } from "preact/hooks";
import { changeSampling as change, chooseChat, clearComparisons, compare, markDiffering, newConversation, stopGenerating, writePrompt, writeSystem } from "../session/compare";
import {
  active,
  adapterLoaded,
  chat,
  chosenSet,
  comparisons,
  generating,
  markDifferences,
  modelInfo,
  openConversation,
  prompt,
  promptHistory,
  sampling,
  systemMessage,
  writingNews,
} from "../state";
import { AdapterChoice } from "./AdapterChoice";
import { Compared } from "./Comparisons";
import { CheckField, NumberField, TextField } from "./Fields";
import { Panel } from "./Panel";
import { StartStop } from "./StartStop";

export function ComparePanel() {
  const all = comparisons.value;
  // A conversation is read downwards and goes on below; what is over stands under the prompt, newest first.
  const open = chat.value ? all.find(({ id }) => id === openConversation.value) : undefined;
  return (
    <Panel number={5} title="Compare">
      <AdapterChoice />
      {open && <Compared comparison={open} key={open.id} />}
      <PromptForm key="form" />
      <p class="sr-only" aria-live="polite" key="news">
        {writingNews.value}
      </p>
      {all.length > 0 && (
        <div class="actions" key="tools">
          <CheckField
            label="Mark differences"
            hint="Underlines the words that only one of the two texts has."
            checked={markDifferences.value}
            onChange={markDiffering}
          />
          <button type="button" class="small" onClick={clearComparisons}>
            Clear all
          </button>
        </div>
      )}
      <div class="comparisons" key="others">
        {all
          .filter((comparison) => comparison !== open)
          .map((comparison) => (
            <Compared comparison={comparison} key={comparison.id} />
          ))}
      </div>
    </Panel>
  );
}

function PromptForm() {
  const form = useRef<HTMLFormElement>(null);
  return (
    <form
      ref={form}
      class="compare-form"
      onSubmit={(event) => {
        event.preventDefault();
        void compare();
      }}
      onKeyDown={(event) => {
        if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !generating.value) form.current?.requestSubmit();
      }}
      onInvalidCapture={({ target }) => (target as HTMLElement).closest("details")?.setAttribute("open", "")}
    >
      {modelInfo.value?.has_chat_template && (
        <CheckField
          label="Chat"
          hint="A conversation through the model’s chat template. Off: the model goes on with your text."
          checked={chat.value}
          onChange={chooseChat}
        />
      )}
      {chat.value && openConversation.value === undefined && (
        <TextField
          label="System message (optional)"
          hint="Said to the model before the conversation. Leave it empty if your data had none."
          value={systemMessage.value}
          onChange={writeSystem}
        />
      )}
      <PromptBox />
      <SamplingFields />
      <p class="actions">
        <StartStop
          running={generating.value}
          start={chat.value ? "Send" : "Generate"}
          stop="Stop writing"
          disabled={!modelInfo.value || prompt.value.trim() === ""}
          onStop={stopGenerating}
        />
        {chat.value && openConversation.value !== undefined && (
          <button type="button" disabled={generating.value} onClick={newConversation}>
            New conversation
          </button>
        )}
        <span class="run-status">
          {!adapterLoaded.value && "The base model alone, until there is an adapter: train one or bring one."}
          {adapterLoaded.value && active.value && "Between training steps, with the adapter as it is now."}
        </span>
      </p>
    </form>
  );
}

/** Characters of a prompt that stand on its button. */
const EXCERPT = 160;

/** Prompts of one data set begin alike; what differs tells them apart. */
function excerpts(texts: readonly string[]): string[] {
  const [first = "", ...rest] = texts;
  let shared = rest.length > 0 ? first.length : 0;
  for (const text of rest) {
    while (!text.startsWith(first.slice(0, shared))) shared--;
  }
  const cut = first.slice(0, shared).search(/\S*$/);
  return texts.map((text) => (cut > 0 ? "…" : "") + text.slice(cut).trim().slice(0, EXCERPT));
}

function PromptBox() {
  const id = useId();
  const examples = chosenSet.value?.prompts ?? [];
  return (
    <>
      <div class="field">
        <label for={id}>{chat.value ? "Message" : "Prompt"}</label>
        <textarea
          id={id}
          rows={3}
          value={prompt.value}
          aria-describedby={`${id}-hint`}
          onInput={({ currentTarget }) => writePrompt(currentTarget.value)}
        />
        <small id={`${id}-hint`} class="hint">
          Both models get it, with the same seed. Ctrl+Enter sends it.
        </small>
      </div>
      <Prompts label="Example prompts" texts={examples} />
      {promptHistory.value.length > 0 && (
        <details>
          <summary>Earlier prompts</summary>
          <Prompts label="Earlier prompts" texts={promptHistory.value} />
        </details>
      )}
    </>
  );
}

function Prompts({ label, texts }: { label: string; texts: readonly string[] }) {
  if (texts.length === 0) return null;
  return (
    <div class="examples" role="group" aria-label={label}>
      {excerpts(texts).map((excerpt, index) => (
        <button type="button" class="example-prompt" key={texts[index]} onClick={() => writePrompt(texts[index] ?? "")}>
          {excerpt}
        </button>
      ))}
    </div>
  );
}

function SamplingFields() {
  const now = sampling.value;
  return (
    <details>
      <summary>Sampling</summary>
      <div class="fields">
        <NumberField
          label="Temperature"
          hint="0: always the likeliest token"
          value={now.temperature}
          min={0}
          max={5}
          onChange={(value) => change({ temperature: value })}
        />
        <NumberField
          label="Top k"
          hint="0: all tokens"
          value={now.top_k}
          min={0}
          step={1}
          onChange={(value) => change({ top_k: value })}
        />
        <NumberField
          label="Top p"
          hint="1: all tokens"
          value={now.top_p}
          min={0.01}
          max={1}
          onChange={(value) => change({ top_p: value })}
        />
        <NumberField
          label="Maximum tokens"
          hint="Of an answer; more if texts break off"
          value={now.max_new_tokens}
          min={1}
          max={modelInfo.value?.max_position_embeddings ?? 1}
          step={1}
          onChange={(value) => change({ max_new_tokens: value })}
        />
        <NumberField
          label="Seed"
          hint="Another one: another text; the same: the same text"
          value={now.seed}
          min={0}
          step={1}
          onChange={(value) => change({ seed: value })}
        />
      </div>
    </details>
  );
}
