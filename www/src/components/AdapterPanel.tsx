import { bytes, compact, count, percent } from "../format";
import { isPlain } from "../session/adapter";
import { changeSettings, chooseAlpha, dropAdapter, takeAdapter } from "../session/settings";
import { aboutModules, active, generating, initAdapter, initAdapterError, modelInfo, parameterCount, settings, targetSets } from "../state";
import { FileField, FormId, NumberField } from "./Fields";
import { LayerRanks } from "./LayerRanks";
import { LowRank } from "./LowRank";
import { Notice, Panel, Warnings } from "./Panel";
import { RankSlider } from "./RankSlider";
import { SETTINGS_FORM, showInvalid } from "./TrainSettings";

/** The adapter's file holds 32-bit floats. */
const BYTES_PER_PARAMETER = 4;

export function AdapterPanel() {
  const info = modelInfo.value;
  const isOpen = !active.value && info !== undefined;
  const adapter = initAdapter.value;
  return (
    <Panel number={3} title="Adapter">
      <FormId.Provider value={SETTINGS_FORM}>
        {adapter && (
          <p class="hint">
            Rank, alpha, dropout and modules are those of {adapter.name}, from which training starts: they cannot be
            changed.
          </p>
        )}
        <fieldset class="bare" disabled={!isOpen || adapter !== undefined} onInvalidCapture={showInvalid}>
          <legend class="sr-only">Adapter settings</legend>
          <Basics />
          <Modules />
          <LayerRanks />
        </fieldset>
        {(!adapter || (info && isPlain(adapter.files.config, info.target_modules))) && <Counted />}
        <fieldset class="bare" disabled={!isOpen}>
          <legend class="sr-only">Where the adapter begins</legend>
          <Existing />
        </fieldset>
      </FormId.Provider>
    </Panel>
  );
}

function Basics() {
  const { r, lora_alpha, lora_dropout } = settings.value;
  return (
    <>
      <RankSlider />
      <div class="fields">
        <NumberField
          label="Rank"
          hint="4 to 16 for a tone or a form; more for much new matter."
          value={r}
          min={1}
          step={1}
          onChange={(value) => changeSettings({ r: value })}
        />
        <NumberField
          label="Alpha"
          hint="Twice the rank is usual; less acts more gently."
          value={lora_alpha}
          min={0}
          onChange={chooseAlpha}
        />
        <NumberField
          label="Dropout"
          hint="0.05 to 0.1 if few examples are learned by heart."
          value={lora_dropout}
          min={0}
          max={0.99}
          onChange={(value) => changeSettings({ lora_dropout: value })}
        />
      </div>
    </>
  );
}

function Modules() {
  const names = modelInfo.value?.target_modules ?? [];
  const chosen = settings.value.target_modules;
  const choose = (target_modules: string[]) => changeSettings({ target_modules });
  const toggle = (name: string, on: boolean) =>
    choose(names.filter((other) => (other === name ? on : chosen.includes(other))));
  const isChosen = (set: readonly string[]) => set.length === chosen.length && set.every((name) => chosen.includes(name));
  return (
    <fieldset class="modules">
      <legend>Target modules</legend>
      <p class="hint">The layers that get an adapter: with all of them it learns most. {aboutModules(names).join(" ")}</p>
      <p class="presets">
        {targetSets(names).map(({ id, title, target_modules }) => (
          <button
            key={id}
            type="button"
            aria-pressed={isChosen(target_modules)}
            onClick={() => choose([...target_modules])}
          >
            {title}
          </button>
        ))}
      </p>
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
        {compact(counted.total)}; a file of about {bytes(BYTES_PER_PARAMETER * counted.trainable)}
      </p>
      <Warnings list={counted.warnings} />
      <LowRank modules={counted.modules} />
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

function Existing() {
  const adapter = initAdapter.value;
  return (
    <details>
      <summary>Start from an existing adapter</summary>
      {adapter ? (
        <p class="actions">
          <span>
            Training goes on from <strong>{adapter.name}</strong>.
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
