/** What the charts draw: the runs' curves as columns over steps. */
import { computed } from "@preact/signals";
import type { StepReport } from "postil";
import { csv, type Cell } from "../../csv";
import { bytes, loss, rate, scientific } from "../../format";
import { smooth } from "../../session/health";
import { evaluations, find, overlaid, run, smoothing, steps, type Evaluation } from "../../state";

/** A run's curves. */
export interface Curve {
  title: string;
  steps: readonly StepReport[];
  evaluations: readonly Evaluation[];
}

export type Column = (number | null | undefined)[];
export type Table = [x: number[], ...columns: Column[]];

export interface Measure {
  /** The column's name in files. */
  key: "loss" | "learning_rate" | "grad_norm" | "tokens_per_second" | "memory";
  title: string;
  value: (report: StepReport) => number;
  format: (value: number) => string;
  /** On the axis, where there is little room. */
  tick: (value: number) => string;
  /** Distances between marks on the axis, where they are not round in tens. */
  incrs?: readonly number[];
}

const plain = (value: number) => String(Number(value.toPrecision(3)));
const thousands = (value: number) => (value >= 1000 ? `${plain(value / 1000)}k` : plain(value));

export const LOSS: Measure = { key: "loss", title: "Loss", value: ({ loss }) => loss, format: loss, tick: plain };

export const OTHERS: readonly Measure[] = [
  {
    key: "learning_rate",
    title: "Learning rate",
    value: ({ lr }) => lr,
    format: scientific,
    tick: (value) => (value === 0 ? "0" : value.toExponential()),
  },
  {
    key: "grad_norm",
    title: "Gradient norm",
    value: ({ grad_norm }) => grad_norm,
    format: (value) => value.toFixed(3),
    tick: plain,
  },
  {
    key: "tokens_per_second",
    title: "Tokens per second",
    value: ({ tokens_per_second }) => tokens_per_second,
    format: rate,
    tick: thousands,
  },
  {
    key: "memory",
    title: "GPU memory",
    value: ({ memory }) => memory,
    format: bytes,
    tick: (value) => (value === 0 ? "0" : bytes(value).replace("iB", "")),
    incrs: Array.from({ length: 40 }, (_, power) => 2 ** power),
  },
];

const others = computed(() => overlaid.value.filter((id) => id !== run.value.id && find(id)));
/** How many runs are laid over this tab's. */
export const othersCount = computed(() => others.value.length);

/** There is something to draw. */
export const anyCurve = computed(() => steps.value.length > 0 || othersCount.value > 0);

/** The run of this tab, then those laid over it. */
export function shownCurves(): { own: Curve | undefined; others: Curve[] } {
  const { id } = run.value;
  const own = id === undefined ? undefined : { title: find(id)?.title ?? "This run", steps: steps.value, evaluations: evaluations.value };
  return { own, others: others.value.flatMap((other) => find(other) ?? []) };
}

/** The loss of each step, smoothed, and of held-out data: three columns over steps from 0, or 1, on. */
export function lossTable({ steps, evaluations }: Curve): Table {
  const held = new Map(evaluations.map(({ step, loss }) => [step, loss]));
  const averages = smooth(
    steps.map(({ loss }) => loss),
    smoothing.value,
  );
  const table: [number[], Column, Column, Column] = [[], [], [], []];
  const add = (...row: [number, ...(number | null)[]]) => row.forEach((value, column) => table[column]!.push(value!));
  if (held.has(0)) add(0, null, null, held.get(0)!);
  steps.forEach(({ step, loss }, index) => add(step, finite(loss), finite(averages[index]!), held.get(step) ?? null));
  return table;
}

export function measureTable({ steps }: Curve, { value }: Measure): Table {
  return [steps.map(({ step }) => step), steps.map((report) => finite(value(report)))];
}

const finite = (value: number) => (Number.isFinite(value) ? value : null);

/** The data behind a chart, one row for each step of each run that it shows. */
export function chartCsv(measure: Measure): Blob {
  const { own, others } = shownCurves();
  const isLoss = measure.key === "loss";
  const rows = [...(own ? [own] : []), ...others].flatMap((curve) => {
    const [x, ...columns] = isLoss ? lossTable(curve) : measureTable(curve, measure);
    return x.map((step, row): Cell[] => [curve.title, step, ...columns.map((column) => column[row] ?? undefined)]);
  });
  return csv(["run", "step", ...(isLoss ? ["loss", "smoothed_loss", "eval_loss"] : [measure.key])], rows);
}
