import { useEffect, useRef } from "preact/hooks";
import { useSignal, useSignalEffect } from "@preact/signals";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { loss } from "../format";
import { evaluations, run, steps } from "../state";

const HEIGHT = 260;
/** The smoothed line looks back over this share of the run, and at most so many steps. */
const SMOOTHED_SHARE = 1 / 15;
const SMOOTHED_STEPS = 20;

/** Training loss (each step, and smoothed) and held-out loss, drawn at most once a frame. */
export function LossPlot() {
  const holder = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const frame = useRef(0);
  const pointed = useSignal<number | undefined>(undefined);

  useEffect(() => {
    const element = holder.current;
    if (!element) return;
    const make = () => {
      plot.current?.destroy();
      plot.current = new uPlot(
        options(element, (index) => (pointed.value = index)),
        data(),
        element,
      );
    };
    make();
    const resize = new ResizeObserver(() => plot.current?.setSize({ width: element.clientWidth, height: HEIGHT }));
    resize.observe(element);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", make);
    return () => {
      dark.removeEventListener("change", make);
      resize.disconnect();
      cancelAnimationFrame(frame.current);
      plot.current?.destroy();
    };
  }, []);

  useSignalEffect(() => {
    void steps.value;
    void evaluations.value;
    cancelAnimationFrame(frame.current);
    frame.current = requestAnimationFrame(() => plot.current?.setData(data()));
  });

  return (
    <figure class="plot">
      <div ref={holder} class="plot-area" role="img" aria-label={describe()} />
      <figcaption>
        <span class="key-item train">training loss</span>
        <span class="key-item held">held-out loss</span>
        <span class="readout" aria-hidden="true">
          {readout(pointed.value)}
        </span>
      </figcaption>
    </figure>
  );
}

type Column = (number | null)[];

/** Columns over steps 0…n: each step's loss, smoothed loss, held-out loss. */
function data(): [number[], Column, Column, Column] {
  const reports = steps.value;
  const held = new Map(evaluations.value.map(({ step, loss }) => [step, loss]));
  const x: number[] = [];
  const raw: Column = [];
  const smooth: Column = [];
  const heldOut: Column = [];
  const baseline = held.get(0);
  if (baseline !== undefined) {
    x.push(0);
    raw.push(null);
    smooth.push(null);
    heldOut.push(baseline);
  }
  const total = run.value.start?.total_steps ?? 0;
  const past = 1 - 1 / Math.min(SMOOTHED_STEPS, Math.max(1, total * SMOOTHED_SHARE));
  let average = 0;
  let weight = 0;
  for (const { step, loss } of reports) {
    average = past * average + (1 - past) * loss;
    weight = past * weight + (1 - past);
    x.push(step);
    raw.push(loss);
    smooth.push(average / weight);
    heldOut.push(held.get(step) ?? null);
  }
  return [x, raw, smooth, heldOut];
}

function options(element: HTMLElement, onPoint: (index: number | undefined) => void): uPlot.Options {
  const style = getComputedStyle(element);
  const colour = (name: string) => style.getPropertyValue(name).trim();
  const axis: uPlot.Axis = {
    stroke: colour("--soft"),
    font: "12px system-ui, sans-serif",
    grid: { stroke: colour("--line"), width: 1 },
    ticks: { stroke: colour("--line"), width: 1 },
  };
  const train = colour("--plot-train");
  const held = colour("--plot-held");
  return {
    width: Math.max(1, element.clientWidth),
    height: HEIGHT,
    legend: { show: false },
    cursor: { drag: { x: false, y: false }, points: { show: false } },
    scales: { x: { time: false, range: (_, low, high) => [Math.min(low ?? 0, 0), Math.max(high ?? 10, 10)] } },
    axes: [
      { ...axis, label: "step", labelSize: 20, labelFont: axis.font!, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000] },
      { ...axis, size: 52 },
    ],
    series: [
      {},
      { stroke: train, width: 1, alpha: 0.4, points: { show: false } },
      { stroke: train, width: 2, points: { show: false } },
      { stroke: held, width: 2, dash: [6, 4], spanGaps: true, points: { show: true, size: 7, fill: held } },
    ],
    hooks: { setCursor: [({ cursor }) => onPoint(cursor.idx ?? undefined)] },
  };
}

function readout(index: number | undefined): string {
  if (index === undefined) return "";
  const [x, raw, , held] = data();
  const step = x[index];
  if (step === undefined) return "";
  const parts = [`step ${step}`];
  const value = raw[index];
  const heldOut = held[index];
  if (value != null) parts.push(`training ${loss(value)}`);
  if (heldOut != null) parts.push(`held-out ${loss(heldOut)}`);
  return parts.join(", ");
}

function describe(): string {
  const first = steps.value.at(0);
  const last = steps.value.at(-1);
  if (!first || !last) return "Loss by step: empty until training starts.";
  const held = evaluations.value;
  const heldOut =
    held.length > 0 ? ` Held-out loss from ${loss(held[0]!.loss)} to ${loss(held[held.length - 1]!.loss)}.` : "";
  return `Loss by step, ${steps.value.length} steps. Training loss from ${loss(first.loss)} to ${loss(last.loss)}.${heldOut}`;
}
