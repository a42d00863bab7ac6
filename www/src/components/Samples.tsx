import { useId } from "preact/hooks";
import { changeSamples as change, MOST_SAMPLED, promptsToSample, writeSamplePrompt } from "../session/entry";
import { active, modelInfo, sampleSettings, type Sample } from "../state";
import { NumberField } from "./Fields";

/** What is written while a run goes on, and how often. */
export function SampleFields() {
  const id = useId();
  const now = sampleSettings.value;
  return (
    <details>
      <summary>Samples while training</summary>
      <fieldset class="bare" disabled={active.value}>
        <legend class="sr-only">Samples</legend>
        <div class="fields">
          <NumberField
            label="Sample every"
            hint="Steps; 0: no samples. Each takes a moment of the run"
            value={now.every}
            min={0}
            step={1}
            onChange={(every) => change({ every })}
          />
          <NumberField
            label="Sample length"
            hint="Tokens at most"
            value={now.max_new_tokens}
            min={1}
            max={modelInfo.value?.max_position_embeddings ?? 1}
            step={1}
            onChange={(max_new_tokens) => change({ max_new_tokens })}
          />
        </div>
        {/* One that is empty comes after the last. */}
        {[...now.prompts, ""].slice(0, MOST_SAMPLED).map((text, index) => (
          <div class="field" key={index}>
            <label for={`${id}-${index}`}>Sample prompt {index + 1}</label>
            <textarea
              id={`${id}-${index}`}
              rows={2}
              value={text}
              aria-describedby={`${id}-hint`}
              onInput={({ currentTarget }) => writeSamplePrompt(index, currentTarget.value)}
            />
          </div>
        ))}
        <small id={`${id}-hint`} class="hint">
          {now.prompts.join("").trim() === "" ? instead(now.every) : `Used in place of the data set’s own prompts; up to ${MOST_SAMPLED}.`}
        </small>
      </fieldset>
    </details>
  );
}

function instead(every: number): string {
  if (!(every >= 1)) return "No samples are written.";
  const prompts = promptsToSample();
  if (prompts.length === 0) return "Write one to see the model change: your data brings none.";
  return `Empty: ${prompts.map((text) => `“${text.trim().slice(-60)}”`).join(" and ")}.`;
}

/** Each prompt's answers in the order of the steps; what stays the same is shown once. */
export function Samples({ prompts, samples }: { prompts: readonly string[]; samples: readonly Sample[] }) {
  return (
    <section class="samples" aria-label="Samples">
      <h3>Samples</h3>
      {prompts.map((prompt, index) => (
        <div class="sampled" key={index}>
          <p class="asked">
            <span class="asked-label">Prompt</span> {prompt}
          </p>
          <div class="timeline-scroll" tabIndex={0} role="group" aria-label={`Samples of prompt ${index + 1}`}>
            <ol class="timeline">
              {together(samples, index).map(({ from, to, text }) => (
                <li key={from}>
                  <span class="timeline-step">{label(from, to)}</span>
                  <span class="timeline-text">{text || <span class="hint">(nothing)</span>}</span>
                </li>
              ))}
            </ol>
          </div>
        </div>
      ))}
    </section>
  );
}

function together(samples: readonly Sample[], index: number): { from: number; to: number; text: string }[] {
  const parts: { from: number; to: number; text: string }[] = [];
  for (const { step, texts } of samples) {
    const text = texts[index] ?? "";
    const last = parts.at(-1);
    if (last?.text === text && last.from > 0) last.to = step;
    else parts.push({ from: step, to: step, text });
  }
  return parts;
}

function label(from: number, to: number): string {
  if (from === 0) return "Before training";
  return from === to ? `Step ${from}` : `Steps ${from}–${to}`;
}
