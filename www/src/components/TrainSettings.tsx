import { changeSettings } from "../session/settings";
import { startTraining } from "../session/training";
import { active, modelInfo, settings } from "../state";
import { CheckField, NumberField, SelectField } from "./Fields";

/** The form of the adapter's and the training's settings: sending it starts a run. */
export const SETTINGS_FORM = "settings";

const SCHEDULES = [
  ["cosine", "Cosine, down to zero"],
  ["linear", "Linear, down to zero"],
  ["constant", "Constant, after warm-up"],
] as const;

/** A field that is wrong is shown, even in a closed section. */
export const showInvalid = ({ target }: Event): void =>
  (target as HTMLElement).closest("details")?.setAttribute("open", "");

/** How the training goes; part of the training's panel. */
export function TrainSettings() {
  return (
    <form
      id={SETTINGS_FORM}
      onSubmit={(event) => {
        event.preventDefault();
        void startTraining();
      }}
      onInvalidCapture={showInvalid}
    >
      <fieldset class="bare" disabled={active.value || !modelInfo.value}>
        <legend class="sr-only">Training settings</legend>
        <Basics />
        <Advanced />
      </fieldset>
    </form>
  );
}

function Basics() {
  const { max_steps, learning_rate, per_device_train_batch_size } = settings.value;
  return (
    <div class="fields">
      <NumberField
        label="Steps"
        hint="More if the held-out loss still falls at the end."
        value={max_steps}
        min={1}
        step={1}
        onChange={(value) => changeSettings({ max_steps: value })}
      />
      <NumberField
        label="Learning rate"
        hint="Lower if the loss jumps, higher if it hardly moves."
        value={learning_rate}
        min={0}
        onChange={(value) => changeSettings({ learning_rate: value })}
      />
      <NumberField
        label="Batch size"
        hint="Examples at once. More need more memory."
        value={per_device_train_batch_size}
        min={1}
        step={1}
        onChange={(value) => changeSettings({ per_device_train_batch_size: value })}
      />
    </div>
  );
}

function Advanced() {
  const now = settings.value;
  return (
    <details>
      <summary>Advanced</summary>
      <div class="fields">
        <SelectField
          label="Schedule"
          hint="How the learning rate goes after its warm-up."
          value={now.lr_scheduler_type}
          options={SCHEDULES}
          onChange={(value) => changeSettings({ lr_scheduler_type: value })}
        />
        <NumberField
          label="Warm-up steps"
          hint="While the learning rate rises from 0. More if the first steps jump."
          value={now.warmup_steps}
          min={0}
          step={1}
          onChange={(value) => changeSettings({ warmup_steps: value })}
        />
        <NumberField
          label="Accumulation"
          hint="Batches that make one step: as a larger batch, without its memory."
          value={now.gradient_accumulation_steps}
          min={1}
          step={1}
          onChange={(value) => changeSettings({ gradient_accumulation_steps: value })}
        />
        <NumberField
          label="Maximum length"
          hint="Tokens of an example; longer ones are cut. Less takes less memory."
          value={now.max_length}
          min={2}
          max={modelInfo.value?.max_position_embeddings ?? 1}
          step={1}
          onChange={(value) => changeSettings({ max_length: value })}
        />
        <NumberField
          label="Evaluate every"
          hint="Steps between looks at the held-out data."
          value={now.eval_steps}
          min={1}
          step={1}
          onChange={(value) => changeSettings({ eval_steps: value })}
        />
        <NumberField
          label="Seed"
          hint="The same seed gives the same run."
          value={now.seed}
          min={0}
          step={1}
          onChange={(value) => changeSettings({ seed: value })}
        />
      </div>
      <div class="checks">
        <CheckField
          label="Packing"
          hint="Short examples share a row of the maximum length, each kept to itself. Batch size then counts rows."
          checked={now.packing}
          onChange={(packing) => changeSettings({ packing, ...(packing ? { group_by_length: false } : {}) })}
        />
        <CheckField
          label="Group by length"
          hint="Batches of examples of about equal length: less padding, another order. Packed rows have no use for it."
          checked={now.group_by_length}
          onChange={(group_by_length) => changeSettings({ group_by_length, ...(group_by_length ? { packing: false } : {}) })}
        />
        <CheckField
          label="Gradient checkpointing"
          hint="Less GPU memory, more time, the same result."
          checked={now.gradient_checkpointing}
          onChange={(gradient_checkpointing) => changeSettings({ gradient_checkpointing })}
        />
        <CheckField
          label="Of chats, train on the assistant’s turns only"
          hint="Otherwise on every token of them."
          checked={now.assistant_only_loss}
          onChange={(assistant_only_loss) => changeSettings({ assistant_only_loss })}
        />
      </div>
    </details>
  );
}
