import { useId } from "preact/hooks";
import { bringAdapter, changeTo, keptCopies } from "../session/adapters";
import { chooseScale } from "../session/compare";
import { adapterError, adapterLoaded, adapterScale, chosenAdapter, loadedAdapters, modelInfo, run } from "../state";
import { FileField } from "./Fields";
import { Notice } from "./Panel";

/** Which adapter the base is compared with, and how strongly it acts. */
export function AdapterChoice() {
  return (
    <div class="adapter-choice">
      <div class="pair">
        <Chosen />
        <Strength />
      </div>
      {adapterError.value && <Notice kind="error">{adapterError.value}</Notice>}
      <details>
        <summary>Bring an adapter</summary>
        <fieldset class="bare" disabled={!modelInfo.value}>
          <legend class="sr-only">Adapter to compare with</legend>
          <FileField
            label="Files of an adapter to compare with"
            hint="adapter_config.json and adapter_model.safetensors, or one zip with both. It must be of this base model. Nothing is trained."
            accept=".json,.safetensors,.zip"
            multiple
            onFiles={(files) => void bringAdapter(files)}
          />
        </fieldset>
      </details>
    </div>
  );
}

function Chosen() {
  const id = useId();
  const loaded = loadedAdapters.value;
  const isHere = (id: string) => loaded.some((other) => other.id === id);
  // The last state of the run that the page has is in the engine under the run's own id.
  const kept = keptCopies().filter((copy) => !isHere(copy.id) && !(copy.which === "last" && copy.run === run.value.id && isHere(copy.run)));
  const empty = loaded.length === 0 && kept.length === 0;
  return (
    <div class="field">
      <label for={id}>Adapter</label>
      <select
        id={id}
        value={adapterLoaded.value ? chosenAdapter.value : ""}
        disabled={empty}
        aria-describedby={`${id}-hint`}
        onChange={({ currentTarget }) => void changeTo(currentTarget.value)}
      >
        {!adapterLoaded.value && <option value="">{empty ? "none yet" : "choose one"}</option>}
        {loaded.length > 0 && (
          <optgroup label="Loaded">
            {loaded.map(({ id, title }) => (
              <option key={id} value={id}>
                {title}
              </option>
            ))}
          </optgroup>
        )}
        {kept.length > 0 && (
          <optgroup label="Of kept runs">
            {kept.map(({ id, title }) => (
              <option key={id} value={id}>
                {title}
              </option>
            ))}
          </optgroup>
        )}
      </select>
      <small id={`${id}-hint`} class="hint">
        Changing it needs no new start: the base stays loaded.
      </small>
    </div>
  );
}

function Strength() {
  const id = useId();
  const per = Math.round(100 * adapterScale.value);
  return (
    <div class="field">
      <label for={id}>
        Adapter’s strength: <output for={id}>{per} %</output>
      </label>
      <input
        id={id}
        type="range"
        min={0}
        max={150}
        step={5}
        list={`${id}-marks`}
        value={per}
        disabled={!adapterLoaded.value}
        aria-valuetext={`${per} %`}
        aria-describedby={`${id}-hint`}
        onInput={({ currentTarget }) => chooseScale(currentTarget.valueAsNumber / 100)}
      />
      <datalist id={`${id}-marks`}>
        <option value="0" />
        <option value="50" />
        <option value="100" />
        <option value="150" />
      </datalist>
      <small id={`${id}-hint`} class="hint">
        0 % is the base, 100 % as trained. Moving it writes the newest answer again.
      </small>
    </div>
  );
}
