import { useSignal } from "@preact/signals";
import { MAX_RANK } from "../session/check";
import { exceptions, ranges, withLayers, withoutKey, type Exception } from "../session/layers";
import { changeSettings } from "../session/settings";
import { modelInfo, settings } from "../state";
import { FormId, NumberField } from "./Fields";
import { Notice } from "./Panel";

/** Other ranks for some of the layers. */
export function LayerRanks() {
  const list = exceptions(settings.value);
  return (
    <details open={list.length > 0}>
      <summary>Other ranks for some layers</summary>
      <p class="hint">
        The first layers of a model see words, the last ones decide what is said. Give more rank to those that matter to
        your task, and less to the others; if you do not know, leave them alike.
      </p>
      {list.length > 0 && <Table list={list} />}
      <FormId.Provider value={undefined}>
        <Add />
      </FormId.Provider>
    </details>
  );
}

const nameOf = ({ key, layers }: Exception) => (layers ? ranges(layers) : key);

function Table({ list }: { list: readonly Exception[] }) {
  return (
    <table class="layer-ranks">
      <thead>
        <tr>
          <th scope="col">Layers</th>
          <th scope="col">Rank</th>
          <th scope="col">Alpha</th>
          <td />
        </tr>
      </thead>
      <tbody>
        {list.map((exception) => (
          <tr key={exception.key}>
            <th scope="row">{exception.layers ? nameOf(exception) : <code>{exception.key}</code>}</th>
            <td>{exception.r ?? "as above"}</td>
            <td>{exception.lora_alpha ?? "as above"}</td>
            <td>
              <button
                type="button"
                aria-label={`Remove the rank of layers ${nameOf(exception)}`}
                onClick={() => changeSettings(withoutKey(settings.value, exception.key))}
              >
                Remove
              </button>
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Add() {
  const last = (modelInfo.value?.num_hidden_layers ?? 1) - 1;
  const from = useSignal(0);
  const to = useSignal(0);
  const rank = useSignal(8);
  const error = useSignal<string | undefined>(undefined);
  const add = () => {
    const [first, end, r] = [from.value, to.value, rank.value];
    const inModel = [first, end].every((layer) => Number.isInteger(layer) && layer >= 0 && layer <= last);
    if (!inModel || first > end) error.value = `Layers are counted from 0 to ${last}, the first one before the last.`;
    else if (!Number.isInteger(r) || r < 1 || r > MAX_RANK)
      error.value = `A rank is a whole number from 1 to ${MAX_RANK}.`;
    else {
      error.value = undefined;
      // As strong as the rest: the same alpha ÷ rank.
      const { r: usual, lora_alpha } = settings.value;
      const alpha = usual >= 1 && lora_alpha >= 0 ? Number(((lora_alpha / usual) * r).toPrecision(6)) : 2 * r;
      changeSettings(withLayers(settings.value, first, end, r, alpha));
    }
  };
  return (
    <div class="layer-add">
      <div class="fields">
        <NumberField
          label="From layer"
          hint="The first of them; 0 is next to the text"
          value={from.value}
          min={0}
          max={last}
          step={1}
          onChange={(value) => (from.value = value)}
        />
        <NumberField
          label="To layer"
          hint="The last of them, itself included"
          value={to.value}
          min={0}
          max={last}
          step={1}
          onChange={(value) => (to.value = value)}
        />
        <NumberField
          label="Their rank"
          hint="Less where little has to change"
          value={rank.value}
          min={1}
          step={1}
          onChange={(value) => (rank.value = value)}
        />
      </div>
      <p class="actions">
        <button type="button" onClick={add}>
          Set this rank
        </button>
        <small>Of {last + 1} layers, counted from 0. Alpha follows, so that they act as strongly as the rest.</small>
      </p>
      {error.value && <Notice kind="error">{error.value}</Notice>}
    </div>
  );
}
