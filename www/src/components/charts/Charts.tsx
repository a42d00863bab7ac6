import { useId } from "preact/hooks";
import { loss } from "../../format";
import { scaleByLogarithm, smoothBy, zoomTo } from "../../session/charts";
import { logarithmic, smoothing, zoom } from "../../state";
import { Chart } from "./Chart";
import { Legend } from "./Legend";
import { LOSS, OTHERS, shownCurves } from "./curves";

const HEIGHT = 260;
const SMALL_HEIGHT = 150;

/** The curves of this tab's run and of those laid over it. */
export function Charts() {
  return (
    <div class="charts">
      <Controls />
      <Chart measure={LOSS} height={HEIGHT} label={describeLoss()} />
      <Legend />
      <div class="small-charts">
        {OTHERS.map((measure) => (
          <Chart key={measure.key} measure={measure} height={SMALL_HEIGHT} label={`${measure.title} by step.`} />
        ))}
      </div>
    </div>
  );
}

function Controls() {
  const id = useId();
  return (
    <div class="chart-controls">
      <div class="slider">
        <label for={id}>Smoothing</label>
        <input
          id={id}
          type="range"
          min={0}
          max={0.95}
          step={0.05}
          value={smoothing.value}
          aria-describedby={`${id}-hint`}
          onInput={({ currentTarget }) => smoothBy(currentTarget.valueAsNumber)}
        />
        <small id={`${id}-hint`} class="hint">
          Of the bold line; the pale one is the loss itself
        </small>
      </div>
      <label class="check">
        <input
          type="checkbox"
          checked={logarithmic.value}
          onChange={({ currentTarget }) => scaleByLogarithm(currentTarget.checked)}
        />
        Log scale
      </label>
      <button type="button" class="small" aria-disabled={!zoom.value} onClick={() => zoomTo()}>
        Show all steps
      </button>
      <small class="hint">Drag to zoom in, double-click for all; keys: +, − and 0.</small>
    </div>
  );
}

function describeLoss(): string {
  const { own } = shownCurves();
  const first = own?.steps.at(0);
  const last = own?.steps.at(-1);
  if (!own || !first || !last) return "Loss by step: empty until training starts.";
  const held = own.evaluations;
  const heldOut =
    held.length > 0 ? ` Held-out loss from ${loss(held[0]!.loss)} to ${loss(held[held.length - 1]!.loss)}.` : "";
  return `Loss by step, ${own.steps.length} steps. Training loss from ${loss(first.loss)} to ${loss(last.loss)}.${heldOut}`;
}
