import { useId, useRef } from "preact/hooks";
import { untracked, useSignal, useSignalEffect } from "@preact/signals";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { pointAt, zoomTo } from "../../session/charts";
import { saveFile } from "../../session/save";
import { logarithmic, pointed, zoom } from "../../state";
import { chartCsv, lossTable, measureTable, othersCount, shownCurves, type Curve, type Measure, type Table } from "./curves";
import { DASHES, LETTERS } from "./Legend";

interface ChartProps {
  measure: Measure;
  height: number;
  label: string;
}

/** So much wider or narrower with each key. */
const ZOOM_KEY = 0.5;

/** One measure of the shown runs over steps, drawn at most once a frame. */
export function Chart({ measure, height, label }: ChartProps) {
  const id = useId();
  const holder = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const focused = useSignal(false);

  // The plot is made anew where its lines or scales are others.
  useSignalEffect(() => {
    const element = holder.current;
    if (!element) return;
    const log = measure.key === "loss" && logarithmic.value;
    void othersCount.value;
    // New data moves the cursors of all charts; only the one in use says where they are.
    const onPoint = (step: number | undefined) => {
      if (element.matches(":hover") || element === document.activeElement) pointAt(step);
    };
    const make = () => {
      plot.current?.destroy();
      plot.current = new uPlot(options(element, height, measure, log, onPoint), table(measure), element);
    };
    untracked(make);
    const resize = new ResizeObserver(() => plot.current?.setSize({ width: Math.max(1, element.clientWidth), height }));
    resize.observe(element);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", make);
    return () => {
      dark.removeEventListener("change", make);
      resize.disconnect();
      plot.current?.destroy();
      plot.current = undefined;
    };
  });

  useSignalEffect(() => {
    const data = table(measure);
    void zoom.value;
    const frame = requestAnimationFrame(() => {
      if (plot.current?.series.length === data.length) plot.current.setData(data);
    });
    return () => cancelAnimationFrame(frame);
  });

  useSignalEffect(() => {
    const step = pointed.value;
    const { current } = plot;
    if (!current || current.data[0][current.cursor.idx ?? -1] === step) return;
    const left = step === undefined ? -10 : current.valToPos(step, "x");
    current.setCursor({ left, top: left }, false);
  });

  return (
    <figure class={measure.key === "loss" ? "plot" : "plot small"}>
      <figcaption>
        <strong class="plot-title">{measure.title}</strong>
        <button
          type="button"
          class="quiet"
          aria-label={`Download CSV: ${measure.title}`}
          onClick={() => saveFile(chartCsv(measure), `${measure.key}.csv`)}
        >
          CSV
        </button>
        <span class="readout" aria-live={focused.value ? "polite" : "off"}>
          {readout(measure, pointed.value)}
        </span>
        <span id={`${id}-keys`} class="sr-only">
          Arrow keys move the read-out, plus and minus zoom, 0 shows all steps.
        </span>
      </figcaption>
      <div
        ref={holder}
        class="plot-area"
        role="img"
        tabIndex={0}
        aria-label={label}
        aria-describedby={`${id}-keys`}
        onFocus={() => (focused.value = true)}
        onBlur={() => (focused.value = false)}
        onMouseLeave={() => pointAt(undefined)}
        onKeyDown={(event) => {
          if (plot.current && onKey(plot.current, event)) event.preventDefault();
        }}
      />
    </figure>
  );
}

/** The own run's columns, then those of each other run. */
function table(measure: Measure): uPlot.AlignedData {
  const { own, others } = shownCurves();
  const isLoss = measure.key === "loss";
  const of = (curve: Curve): Table => (isLoss ? lossTable(curve) : measureTable(curve, measure));
  const first: Table = own ? of(own) : [[], ...(isLoss ? [[], [], []] : [[]])];
  if (others.length === 0) return first;
  // Of the others only the smoothed loss: too many lines are none.
  const tables = others.map(of).map(([x, ...columns]): Table => [x, ...(isLoss ? columns.slice(1) : columns)]);
  return uPlot.join([first, ...tables] as uPlot.AlignedData[]);
}

function options(
  element: HTMLElement,
  height: number,
  measure: Measure,
  log: boolean,
  onPoint: (step: number | undefined) => void,
): uPlot.Options {
  const style = getComputedStyle(element);
  const colour = (name: string) => style.getPropertyValue(name).trim();
  const font = "12px system-ui, sans-serif";
  const axis: uPlot.Axis = {
    stroke: colour("--soft"),
    font,
    grid: { stroke: colour("--line"), width: 1 },
    ticks: { stroke: colour("--line"), width: 1 },
  };
  const { key } = measure;
  const { others } = shownCurves();
  const train = colour("--plot-train");
  const held = colour("--plot-held");
  const line = { points: { show: false } };
  const own: uPlot.Series[] =
    key === "loss"
      ? [
          { ...line, stroke: train, width: 1, alpha: 0.4 },
          { ...line, stroke: train, width: 2 },
          { stroke: held, width: 2, dash: [6, 4], spanGaps: true, points: { show: true, size: 7, fill: held } },
        ]
      : [{ ...line, stroke: train, width: 1.5 }];
  const over = others.flatMap((_, index): uPlot.Series[] => {
    const stroke = colour(`--plot-${(index % DASHES.length) + 1}`);
    const dash = DASHES[index % DASHES.length]!;
    const first: uPlot.Series = { ...line, stroke, width: key === "loss" ? 2 : 1.5, dash };
    const heldOut: uPlot.Series = { stroke, width: 1, dash, spanGaps: true, points: { show: true, size: 6, fill: colour("--card"), stroke } };
    return key === "loss" ? [first, heldOut] : [first];
  });
  // Each run's letter stands at the end of its line.
  const lettered = others.length === 0 ? [] : [key === "loss" ? 2 : 1, ...others.map((_, i) => (key === "loss" ? 4 + 2 * i : 2 + i))];
  const range: uPlot.Range.Function = (_, low, high) => [...(zoom.value ?? [Math.min(low ?? 0, 0), Math.max(high ?? 10, 10)])] as [number, number];
  const logRange: uPlot.Range.Function = (_, low, high) => [(low || 0.1) * 0.9, (high || 1) * 1.1];
  // An axis that is there before the first step, so that the plot keeps its place.
  const valueRange: uPlot.Range.Function = (_, low, high) => (low === null || high === null ? [0, 1] : uPlot.rangeNum(low, high, 0.1, true));
  return {
    width: Math.max(1, element.clientWidth),
    height,
    legend: { show: false },
    cursor: {
      y: false,
      drag: { x: true, y: false, setScale: false },
      points: { show: false },
      bind: {
        dblclick: () => () => {
          zoomTo();
          return null;
        },
      },
    },
    scales: { x: { time: false, range }, y: log ? { distr: 3, range: logRange } : { range: valueRange } },
    axes: [
      { ...axis, size: 34, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000], values: (_, splits) => splits.map(String) },
      // A logarithmic axis leaves out most of its marks' numbers.
      { ...axis, size: 56, ...(measure.incrs ? { incrs: [...measure.incrs] } : {}), values: (_, splits) => splits.map((value) => (value === null ? "" : measure.tick(value))) },
    ],
    series: [{}, ...own, ...over],
    hooks: {
      setCursor: [({ cursor, data: [x] }) => onPoint(x[cursor.idx ?? -1])],
      setSelect: [
        (plot) => {
          const { left, width } = plot.select;
          if (width < 4) return;
          const [from, to] = [plot.posToVal(left, "x"), plot.posToVal(left + width, "x")];
          plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
          show(from, to);
        },
      ],
      draw: [(plot) => lettered.forEach((series, index) => write(plot, series, LETTERS[index] ?? "", font))],
    },
  };
}

/** A letter at the last point of a line that is in view. */
function write(plot: uPlot, series: number, letter: string, font: string): void {
  const [x] = plot.data;
  const column = plot.data[series];
  const [, last] = plot.series[0]!.idxs ?? [0, x.length - 1];
  let index = Math.min(last ?? 0, x.length - 1);
  while (index >= 0 && column?.[index] == null) index--;
  const value = column?.[index];
  if (index < 0 || value == null) return;
  const { ctx } = plot;
  const left = Math.min(plot.valToPos(x[index]!, "x", true), plot.bbox.left + plot.bbox.width - 12 * uPlot.pxRatio);
  ctx.save();
  ctx.font = `bold ${12 * uPlot.pxRatio}px ${font.slice(5)}`;
  ctx.fillStyle = getComputedStyle(plot.root).color;
  ctx.fillText(letter, left + 3 * uPlot.pxRatio, plot.valToPos(value, "y", true) - 6 * uPlot.pxRatio);
  ctx.restore();
}

function show(from: number, to: number): void {
  // Less than two steps is nothing to see.
  if (to - from >= 2) zoomTo([Math.max(0, from), to]);
}

/** Whether the key meant something. */
function onKey(plot: uPlot, { key, ctrlKey, metaKey, altKey }: KeyboardEvent): boolean {
  if (ctrlKey || metaKey || altKey) return false;
  const [x] = plot.data;
  const { min = 0, max = 1 } = plot.scales["x"] as { min?: number; max?: number };
  const at = plot.cursor.idx ?? undefined;
  switch (key) {
    case "ArrowLeft":
    case "ArrowRight": {
      if (x.length === 0) return false;
      const [first, last] = plot.series[0]!.idxs ?? [0, x.length - 1];
      const next = at === undefined ? last : at + (key === "ArrowLeft" ? -1 : 1);
      const index = Math.min(Math.max(next, first), last);
      plot.setCursor({ left: plot.valToPos(x[index]!, "x"), top: plot.over.clientHeight / 2 });
      return true;
    }
    case "+":
    case "=":
    case "-": {
      const factor = key === "-" ? 1 / ZOOM_KEY : ZOOM_KEY;
      const middle = at === undefined ? (min + max) / 2 : x[at]!;
      const from = middle - (middle - min) * factor;
      const to = middle + (max - middle) * factor;
      const end = x.at(-1) ?? 0;
      if (from <= 0 && to >= end) zoomTo();
      else show(from, Math.min(to, Math.max(end, 10)));
      return true;
    }
    case "0":
    case "Escape":
      zoomTo();
      return true;
    default:
      return false;
  }
}

function readout(measure: Measure, step: number | undefined): string {
  if (step === undefined) return "";
  const [x, ...columns] = table(measure);
  const index = x.indexOf(step);
  const { others } = shownCurves();
  const isLoss = measure.key === "loss";
  const names = isLoss ? ["training", "", "held-out"] : [""];
  const letters = others.flatMap((_, i) => (isLoss ? [LETTERS[i + 1]!, `${LETTERS[i + 1]} held-out`] : [LETTERS[i + 1]!]));
  const parts = [...names, ...letters].flatMap((name, column) => {
    const value = columns[column]?.[index];
    // The smoothed line of the own run stands beside its loss.
    return value == null || (isLoss && column === 1) ? [] : [`${name} ${measure.format(value)}`.trim()];
  });
  return parts.length === 0 ? "" : [`step ${step}`, ...parts].join(", ");
}
