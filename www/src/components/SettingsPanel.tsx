import { compact, count, percent, plural } from "../format";
import { changeSettings, chooseAlpha, dropAdapter, takeAdapter } from "../session/settings";
import { startTraining } from "../session/training";
import { active, generating, initAdapter, initAdapterError, modelInfo, parameterCount, settings } from "../state";
import { CheckField, FileField, NumberField, SelectField } from "./Fields";
import { Notice, Panel, Warnings } from "./Panel";

export const SETTINGS_FORM = "settings";

const SCHEDULES = [
  ["cosine", "Cosine, down to zero"],
  ["linear", "Linear, down to zero"],
  ["constant", "Constant, after warm-up"],
] as const;

export function SettingsPanel() {
  return (
    <Panel number={3} title="Adapter and training">
      <form
        id={SETTINGS_FORM}
        onSubmit={(event) => {
          event.preventDefault();
          void startTraining();
        }}
        // A field that is wrong is shown, even in a closed section.
        onInvalidCapture={({ target }) => (target as HTMLElement).closest("details")?.setAttribute("open", "")}
      >
        <fieldset class="bare" disabled={active.value || !modelInfo.value}>
          <legend class="sr-only">Settings</legend>
          <Basics />
          <Modules />
          <Counted />
          <Advanced />
          <Existing />
        </fieldset>
      </form>
    </Panel>
  );
}

function Basics() {
  const { r, lora_alpha, max_steps, learning_rate, per_device_train_batch_size } = settings.value;
  return (
    <div class="fields">
      <NumberField
        label="Rank"
        hint="Size of the adapter"
        value={r}
        min={1}
        step={1}
        onChange={(value) => changeSettings({ r: value })}
      />
      <NumberField
        label="Alpha"
        hint="Its strength is alpha ÷ rank"
        value={lora_alpha}
        min={0}
        onChange={chooseAlpha}
      />
      <NumberField
        label="Steps"
        hint="Updates of the adapter"
        value={max_steps}
        min={1}
        step={1}
        onChange={(value) => changeSettings({ max_steps: value })}
      />
      <NumberField
        label="Learning rate"
        hint="Highest, after warm-up"
        value={learning_rate}
        min={0}
        onChange={(value) => changeSettings({ learning_rate: value })}
      />
      <NumberField
        label="Batch size"
        hint="Examples at once"
        value={per_device_train_batch_size}
        min={1}
        step={1}
        onChange={(value) => changeSettings({ per_device_train_batch_size: value })}
      />
    </div>
  );
}

function Modules() {
  const names = modelInfo.value?.target_modules ?? [];
  const chosen = settings.value.target_modules;
  const toggle = (name: string, on: boolean) =>
    changeSettings({ target_modules: names.filter((other) => (other === name ? on : chosen.includes(other))) });
  const all = names.length > 0 && names.every((name) => chosen.includes(name));
  return (
    <fieldset class="modules">
      <legend>Target modules</legend>
      <label>
        <input
          type="checkbox"
          checked={all}
          onChange={({ currentTarget }) => changeSettings({ target_modules: currentTarget.checked ? names : [] })}
        />
        all
      </label>
      {names.map((name) => (
        <label key={name}>
          <input
            type="checkbox"
            checked={chosen.includes(name)}
            onChange={({ currentTarget }) => toggle(name, currentTarget.checked)}
          />
          <code>{name}</code>
        </label>
      ))}
    </fieldset>
  );
}

function Counted() {
  const { count: counted, error } = parameterCount.value;
  if (error) return <Notice kind="error">{error}</Notice>;
  if (!counted) return null;
  return (
    <>
      <p class="parameter-count" role="status">
        <strong>{count(counted.trainable)}</strong> trainable parameters, {percent(counted.percent)} of{" "}
        {compact(counted.total)}
      </p>
      <Warnings list={counted.warnings} />
      <details>
        <summary>By module</summary>
        <div class="table-scroll" tabIndex={0} role="group" aria-label="Parameters by module">
          <table>
            <thead>
              <tr>
                <th scope="col">Module</th>
                <th scope="col">Layers</th>
                <th scope="col">In × out</th>
                <th scope="col">Rank</th>
                <th scope="col">Parameters</th>
              </tr>
            </thead>
            <tbody>
              {counted.modules.map((module) => (
                <tr key={module.name}>
                  <th scope="row">{module.name}</th>
                  <td>{module.count}</td>
                  <td>
                    {module.in_features} × {module.out_features}
                  </td>
                  <td>{module.r}</td>
                  <td>{count(module.parameters)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </details>
    </>
  );
}

function Advanced() {
  const now = settings.value;
  return (
    <details>
      <summary>Advanced</summary>
      <div class="fields">
        <NumberField
          label="Dropout"
          hint="On the adapter’s input"
          value={now.lora_dropout}
          min={0}
          max={0.99}
          onChange={(value) => changeSettings({ lora_dropout: value })}
        />
        <SelectField
          label="Schedule"
          value={now.lr_scheduler_type}
          options={SCHEDULES}
          onChange={(value) => changeSettings({ lr_scheduler_type: value })}
        />
        <NumberField
          label="Warm-up steps"
          hint="Rising learning rate"
          value={now.warmup_steps}
          min={0}
          step={1}
          onChange={(value) => changeSettings({ warmup_steps: value })}
        />
        <NumberField
          label="Accumulation"
          hint="Batches per step"
          value={now.gradient_accumulation_steps}
          min={1}
          step={1}
          onChange={(value) => changeSettings({ gradient_accumulation_steps: value })}
        />
        <NumberField
          label="Maximum length"
          hint="Tokens of an example"
          value={now.max_length}
          min={2}
          max={modelInfo.value?.max_position_embeddings ?? 1}
          step={1}
          onChange={(value) => changeSettings({ max_length: value })}
        />
        <NumberField
          label="Evaluate every"
          hint="Steps, on held-out data"
          value={now.eval_steps}
          min={1}
          step={1}
          onChange={(value) => changeSettings({ eval_steps: value })}
        />
        <NumberField
          label="Seed"
          hint="Same seed, same run"
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

function Existing() {
  const adapter = initAdapter.value;
  return (
    <details>
      <summary>Start from an existing adapter</summary>
      {adapter ? (
        <p class="actions">
          <span>
            Training goes on from <strong>{adapter.name}</strong>, with its rank, alpha and{" "}
            {plural(settings.value.target_modules.length, "module")}.
          </span>
          <button type="button" onClick={dropAdapter}>
            Start anew instead
          </button>
        </p>
      ) : (
        <fieldset class="bare" disabled={generating.value}>
          <legend class="sr-only">Existing adapter</legend>
          <FileField
            label="Adapter files"
            hint="adapter_config.json and adapter_model.safetensors, or one zip with both. It can also be compared below without training."
            accept=".json,.safetensors,.zip"
            multiple
            onFiles={(files) => void takeAdapter(files)}
          />
        </fieldset>
      )}
      {initAdapterError.value && <Notice kind="error">{initAdapterError.value}</Notice>}
    </details>
  );
}
