import { useId, useRef } from "preact/hooks";
import { useSignal } from "@preact/signals";
import { bytes, duration, scientific } from "../format";
import { copyOfRun, useRunAdapter } from "../session/adapters";
import { downloadAdapter } from "../session/downloads";
import { PEFT } from "../session/formats";
import { judge } from "../session/health";
import { renameRun, removeRun } from "../session/history";
import { attempt, isUnfinished, obstacle, resumeRun, takeSettings } from "../session/resume";
import { active, bytesOf, downloads, elsewhere, run, type KeptRun, type Which } from "../state";
import { ConfirmDelete } from "./ConfirmDelete";
import { Outcome } from "./Outcome";
import { Notice, Warnings } from "./Panel";
import { MoreSteps } from "./RunControl";
import { Samples } from "./Samples";

/** One kept run: what it was, and what can be done with it. */
export function RunDetails({ kept }: { kept: KeptRun }) {
  const adding = useSignal(false);
  const deleting = useSignal(false);
  const isAway = elsewhere.value.has(kept.id);
  const isOn = active.value && run.value.id === kept.id;
  const reason = isAway ? "Another tab has this run." : kept.checkpoint === undefined && isOn ? undefined : obstacle(kept);
  const verdict = judge(kept.steps, kept.evaluations, kept.errorKind);
  const adapters: [Which, string, number | undefined][] = [
    ["last", "last", kept.checkpoint],
    ["best", "best", kept.best && kept.best.step !== kept.checkpoint ? kept.best.step : undefined],
  ];
  const there = adapters.filter(([, , step]) => step !== undefined);
  return (
    <div class="details-body">
      <Facts kept={kept} />
      {kept.error && <Notice kind="error">{kept.error}</Notice>}
      {verdict && (
        <p class="health">
          <strong class="badge">{verdict.title}</strong> {verdict.advice}
        </p>
      )}
      <Warnings list={kept.warnings} />
      {reason && <Notice kind="note">{reason}</Notice>}
      <p class="actions">
        {there.map(([which, name, step]) => (
          <button type="button" key={which} onClick={() => attempt(() => useRunAdapter(kept.id, which))}>
            Compare with the {name} (step {step})
          </button>
        ))}
        {there.map(([which, name, step]) => (
          <button type="button" key={`save ${which}`} onClick={() => attempt(() => save(kept, which))}>
            Download the {name} of step {step}
          </button>
        ))}
      </p>
      <div class="kept-outcomes">
        {there.map(([which]) => (
          <Outcome key={which} state={downloads.value[keyOf(kept, which)]} />
        ))}
      </div>
      <p class="actions">
        {isUnfinished(kept) && (
          <button type="button" disabled={active.value || reason !== undefined} onClick={() => void resumeRun(kept.id)}>
            Resume
          </button>
        )}
        {kept.checkpoint !== undefined && (
          <button
            type="button"
            disabled={active.value || reason !== undefined}
            aria-expanded={adding.value}
            onClick={() => (adding.value = !adding.value)}
          >
            Continue with more steps…
          </button>
        )}
        <button type="button" disabled={active.value} onClick={() => takeSettings(kept.id)}>
          Apply its settings
        </button>
        <button type="button" disabled={isOn || isAway} aria-expanded={deleting.value} onClick={() => (deleting.value = !deleting.value)}>
          Delete…
        </button>
      </p>
      {adding.value && !active.value && <MoreSteps kept={kept} onDone={() => (adding.value = false)} />}
      {deleting.value && (
        <ConfirmDelete
          what={`Delete “${kept.title}” with its curves and adapters? They cannot be brought back.`}
          onDelete={() =>
            attempt(async () => {
              if (!(await removeRun(kept.id))) throw new Error("This run is running in another tab.");
            })
          }
          onKeep={() => (deleting.value = false)}
        />
      )}
      <Rename kept={kept} />
      {kept.samples.length > 0 && <Samples prompts={kept.sampling?.prompts ?? []} samples={kept.samples} />}
    </div>
  );
}

const keyOf = (kept: KeptRun, which: Which) => `kept/${kept.id}/${which}`;

/** As a PEFT adapter, checked as in Download, which has the other formats. */
async function save(kept: KeptRun, which: Which): Promise<void> {
  await downloadAdapter(PEFT, await copyOfRun(kept.id, which), keyOf(kept, which));
}

function Facts({ kept }: { kept: KeptRun }) {
  const { model, data, device, settings, seconds } = kept;
  const facts = [
    ["Model", model.info.name],
    ["Data", data.title],
    ["Device", device],
    ["Target modules", settings.target_modules.join(", ")],
    ["Alpha", String(settings.lora_alpha)],
    ["Learning rate", scientific(settings.learning_rate)],
    ["Batch size", String(settings.per_device_train_batch_size)],
    ["Seed", String(settings.seed)],
    ["Took", seconds > 0 ? duration(seconds) : "–"],
    ["Takes", bytes(bytesOf(kept))],
  ] as const;
  return (
    <dl class="run-facts">
      {facts.map(([term, value]) => (
        <div key={term}>
          <dt>{term}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function Rename({ kept }: { kept: KeptRun }) {
  const id = useId();
  const field = useRef<HTMLInputElement>(null);
  return (
    <form
      class="rename"
      onSubmit={(event) => {
        event.preventDefault();
        renameRun(kept.id, field.current?.value ?? "");
      }}
    >
      <div class="field">
        <label for={id}>Name of the run</label>
        <input id={id} ref={field} type="text" required maxLength={120} defaultValue={kept.title} autoComplete="off" />
      </div>
      <button type="submit">Rename</button>
    </form>
  );
}
