import { useId } from "preact/hooks";
import { rate } from "../format";
import { compare, stopGenerating } from "../session/compare";
import {
  active,
  adapterLoaded,
  chat,
  chosenSet,
  comparisons,
  generating,
  modelInfo,
  prompt,
  sampling,
  writingNews,
  type Output,
  type Sampling,
} from "../state";
import { NumberField } from "./Fields";
import { Notice, Panel } from "./Panel";
import { StartStop } from "./StartStop";

export function ComparePanel() {
  return (
    <Panel number={5} title="Compare">
      <form
        class="compare-form"
        onSubmit={(event) => {
          event.preventDefault();
          void compare();
        }}
        onInvalidCapture={({ target }) => (target as HTMLElement).closest("details")?.setAttribute("open", "")}
      >
        <PromptBox />
        <SamplingFields />
        <p class="actions">
          <StartStop
            running={generating.value}
            start="Generate"
            stop="Stop writing"
            disabled={!modelInfo.value || prompt.value.trim() === ""}
            onStop={stopGenerating}
          />
          <span class="run-status">
            {!adapterLoaded.value && "The base model alone, until there is an adapter: train one or bring one."}
            {adapterLoaded.value && active.value && "Between training steps, with the adapter as it is now."}
          </span>
        </p>
      </form>
      <p class="sr-only" aria-live="polite">
        {writingNews.value}
      </p>
      <div class="comparisons">
        {comparisons.value.map(({ id, prompt: text, base, tuned }) => (
          <article class="comparison" key={id}>
            <Asked text={text} />
            <div class="sides">
              <Side title="Base model" output={base} />
              {tuned && <Side title="With your adapter" output={tuned} tuned />}
            </div>
          </article>
        ))}
      </div>
    </Panel>
  );
}

/** Prompts longer than this are folded away in the results. */
const FOLDED = 160;

function Asked({ text }: { text: string }) {
  if (text.length <= FOLDED) {
    return (
      <p class="asked">
        <span class="asked-label">Prompt</span> {text}
      </p>
    );
  }
  return (
    <details>
      <summary>Prompt: …{text.trimEnd().slice(-FOLDED / 2)}</summary>
      <p class="asked">{text}</p>
    </details>
  );
}

/** Prompts of one data set begin alike; what differs tells them apart. */
function excerpts(texts: readonly string[]): string[] {
  const [first = "", ...rest] = texts;
  let shared = rest.length > 0 ? first.length : 0;
  for (const text of rest) {
    while (!text.startsWith(first.slice(0, shared))) shared--;
  }
  const cut = first.slice(0, shared).search(/\S*$/);
  return texts.map((text) => (cut > 0 ? "…" : "") + text.slice(cut).trim().slice(0, FOLDED));
}

function PromptBox() {
  const id = useId();
  const examples = chosenSet.value?.prompts ?? [];
  return (
    <>
      <div class="field">
        <label for={id}>Prompt</label>
        <textarea
          id={id}
          rows={3}
          value={prompt.value}
          onInput={({ currentTarget }) => (prompt.value = currentTarget.value)}
        />
      </div>
      {examples.length > 0 && (
        <div class="examples" role="group" aria-label="Example prompts">
          {excerpts(examples).map((excerpt, index) => (
            <button
              type="button"
              class="example-prompt"
              key={excerpt}
              onClick={() => (prompt.value = examples[index] ?? "")}
            >
              {excerpt}
            </button>
          ))}
        </div>
      )}
    </>
  );
}

function SamplingFields() {
  const now = sampling.value;
  const change = (part: Partial<Sampling>) => (sampling.value = { ...sampling.value, ...part });
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
          value={now.max_new_tokens}
          min={1}
          max={modelInfo.value?.max_position_embeddings ?? 1}
          step={1}
          onChange={(value) => change({ max_new_tokens: value })}
        />
        <NumberField label="Seed" value={now.seed} min={0} step={1} onChange={(value) => change({ seed: value })} />
        {modelInfo.value?.has_chat_template && (
          <label class="check">
            <input
              type="checkbox"
              checked={chat.value}
              onChange={({ currentTarget }) => (chat.value = currentTarget.checked)}
            />
            As a chat message
          </label>
        )}
      </div>
    </details>
  );
}

function Side({ title, output, tuned = false }: { title: string; output: Output; tuned?: boolean }) {
  return (
    <div class={tuned ? "side tuned" : "side"}>
      <h3>{title}</h3>
      <p class="written" aria-busy={output.status === "writing"}>
        {output.text}
        {output.status === "writing" && <span class="caret" aria-hidden="true" />}
        {output.status === "waiting" && <span class="hint">waiting…</span>}
        {output.status === "done" && output.text === "" && <span class="hint">(nothing: the text ended at once)</span>}
      </p>
      {output.error && <Notice kind="error">{output.error}</Notice>}
      <small class="hint">
        {output.status === "stopped" && "stopped "}
        {output.tokensPerSecond !== undefined && `${output.tokens} tokens, ${rate(output.tokensPerSecond)}`}
      </small>
    </div>
  );
}
