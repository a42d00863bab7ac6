import type uPlot from "uplot";
import { compact, loss } from "../format";
import type { Point } from "../session/elbow";
import { usePlot, type Look } from "./charts/usePlot";

const HEIGHT = 220;
const DASHES = [[], [6, 4], [2, 3], [10, 3, 2, 3]];

export interface Curve {
  title: string;
  points: readonly Point[];
}

interface SweepPlotProps {
  curves: readonly Curve[];
  by: "r" | "parameters";
  marked: Point | undefined;
}

/** At most so many numbers stand along the axis of parameters, whose points can lie close together. */
const MARKS = 4;

const LABELS = { r: "rank", parameters: "trainable parameters" };

/** Held-out loss against the rank or the parameters, both on a logarithmic axis. */
export function SweepPlot({ curves, by, marked }: SweepPlotProps) {
  const key = JSON.stringify([curves, by, marked]);
  const holder = usePlot(key, HEIGHT, (look) => [options(look, curves, by), columns(curves, by, marked)]);
  return <div ref={holder} class="sweep-plot" role="img" aria-label={describe(curves, by, marked)} />;
}

function columns(curves: readonly Curve[], by: "r" | "parameters", marked: Point | undefined): uPlot.AlignedData {
  const x = [...new Set(curves.flatMap(({ points }) => points.map((point) => point[by])))].sort((one, other) => one - other);
  const lines = curves.map(({ points }) => x.map((at) => points.find((point) => point[by] === at)?.loss));
  return [x, ...lines, x.map((at) => (marked && marked[by] === at ? marked.loss : undefined))];
}

function options({ axis, colour }: Look, curves: readonly Curve[], by: "r" | "parameters"): Omit<uPlot.Options, "width" | "height"> {
  const colours = [colour("--plot-held"), colour("--plot-train"), colour("--mark-line"), colour("--soft")];
  const x: uPlot.Axis = {
    ...axis,
    label: LABELS[by],
    labelSize: 20,
    labelFont: axis.font!,
    size: 30,
    // Marks where the runs are: nothing lies between them.
    splits: (plot) => (by === "r" ? [...plot.data[0]] : apart([...plot.data[0]])),
    filter: (_, splits) => splits,
    values: (_, splits) => splits.map((value) => (by === "r" ? String(value) : compact(value))),
  };
  return {
    scales: {
      x: { time: false, distr: 3, log: 2, range: (_, low, high) => [(low ?? 1) / 1.3, (high ?? 2) * 1.3] },
      y: { range: (_, low, high) => padded(low ?? 0, high ?? 1) },
    },
    axes: [x, { ...axis, size: 58, values: (_, splits) => splits.map((value) => Number(value.toPrecision(6)).toString()) }],
    series: [
      {},
      ...curves.map((_, index): uPlot.Series => {
        const stroke = colours[index % colours.length]!;
        return {
          stroke,
          width: 2,
          dash: DASHES[index % DASHES.length]!,
          spanGaps: true,
          points: { show: true, size: 7, fill: stroke },
        };
      }),
      { stroke: colour("--ink"), width: 0, points: { show: true, size: 17, width: 2, fill: "transparent", stroke: colour("--ink") } },
    ],
  };
}

/** Of rising values those that are far enough apart, on a logarithmic axis, for their numbers. */
function apart(values: number[]): number[] {
  const [first = 1, last = first] = [values[0], values.at(-1)];
  const least = (last / first) ** (1 / MARKS);
  const kept: number[] = [];
  for (const value of values) if (value >= (kept.at(-1) ?? 0) * least) kept.push(value);
  return kept;
}

function padded(low: number, high: number): [number, number] {
  const room = high > low ? (high - low) * 0.15 : Math.abs(high) * 0.05 || 1;
  return [low - room, high + room];
}

function describe(curves: readonly Curve[], by: "r" | "parameters", marked: Point | undefined): string {
  const value = (point: Point) => (by === "r" ? point.r : compact(point.parameters));
  const lines = curves.map(({ title, points }) => `${title}: ${points.map((point) => `${loss(point.loss)} at ${value(point)}`).join(", ")}`);
  const mark = marked ? ` Marked: ${value(marked)}.` : "";
  return `Held-out loss by ${LABELS[by]}. ${lines.join("; ")}.${mark}`;
}
