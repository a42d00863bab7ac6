/** Whether a run goes well: simple rules on its curves, each with a sentence of what to do. Numbers in, words out. */

interface Step {
  step: number;
  loss: number;
  grad_norm: number;
  lr: number;
}

interface HeldOut {
  step: number;
  loss: number;
}

export interface Verdict {
  kind: "not-finite" | "rising" | "stalled" | "overfitting";
  title: string;
  advice: string;
}

/** Steps that the loss is averaged over before it is judged. */
const AVERAGED = 20;
/** Sooner than this a curve says nothing. */
const FIRST_STEPS = 40;
/** So much above its minimum a loss has risen… */
const RISEN = 0.1;
/** …if it has been above it for so many steps. */
const RISEN_FOR = 20;
/** A loss that falls by less than this in `STALLED_FOR` steps stalls. */
const FALLEN = 0.01;
const STALLED_FOR = 100;
/** Below this share of its peak the learning rate is on its way out, and a flat loss is to be expected. */
const SPENT_RATE = 0.2;
/** So much above its minimum, twice in a row, a held-out loss has risen. */
const HELD_OUT_RISEN = 0.02;

/** Averages that look back over about 1 ÷ (1 − `past`) values, without a pull towards the first. */
export function smooth(values: readonly number[], past: number): number[] {
  let average = 0;
  let weight = 0;
  return values.map((value) => {
    // A value that is not finite would stay in the average for good.
    if (Number.isFinite(value)) {
      average = past * average + (1 - past) * value;
      weight = past * weight + (1 - past);
    }
    return weight > 0 ? average / weight : value;
  });
}

const NOT_FINITE: Verdict = {
  kind: "not-finite",
  title: "Not finite",
  advice: "The loss or its gradient is not a number any more: train anew with a lower learning rate.",
};

/** The gravest thing to say of a run, if there is one. `errorKind` is the engine's, of what has ended it. */
export function judge(steps: readonly Step[], heldOut: readonly HeldOut[], errorKind?: string): Verdict | undefined {
  if (errorKind === "NotFinite") return NOT_FINITE;
  const last = steps.at(-1);
  if (!last) return undefined;
  if (!Number.isFinite(last.loss) || !Number.isFinite(last.grad_norm)) {
    return NOT_FINITE;
  }
  const averages = smooth(
    steps.map(({ loss }) => loss),
    1 - 1 / AVERAGED,
  );
  return rising(steps, averages) ?? overfitting(steps, averages, heldOut) ?? stalled(steps, averages);
}

function rising(steps: readonly Step[], averages: readonly number[]): Verdict | undefined {
  if (steps.length < FIRST_STEPS) return undefined;
  const lowest = indexOfLowest(averages, AVERAGED);
  const since = averages.length - 1 - lowest;
  if (since < RISEN_FOR || !(averages.at(-1)! > averages[lowest]! * (1 + RISEN))) return undefined;
  return {
    kind: "rising",
    title: "Loss is rising",
    advice: `The loss has been rising since step ${steps[lowest]!.step}: a lower learning rate, or more warm-up steps, keep it down.`,
  };
}

function overfitting(steps: readonly Step[], averages: readonly number[], heldOut: readonly HeldOut[]): Verdict | undefined {
  if (heldOut.length < 3) return undefined;
  const best = heldOut.reduce((lowest, now) => (now.loss < lowest.loss ? now : lowest));
  const bound = best.loss * (1 + HELD_OUT_RISEN);
  const after = heldOut.slice(-2);
  if (!after.every(({ step, loss }) => step > best.step && loss > bound)) return undefined;
  const at = (step: number) => averages[steps.findLastIndex((report) => report.step <= step)] ?? Infinity;
  if (!(at(after[1]!.step) < at(best.step))) return undefined;
  return {
    kind: "overfitting",
    title: "Overfitting",
    advice: `The held-out loss rises while the training loss falls: take the adapter of step ${best.step}, or train with fewer steps, more data or some dropout.`,
  };
}

function stalled(steps: readonly Step[], averages: readonly number[]): Verdict | undefined {
  if (steps.length < STALLED_FOR + AVERAGED) return undefined;
  const peak = steps.reduce((highest, { lr }) => Math.max(highest, lr), 0);
  if (steps.at(-1)!.lr < peak * SPENT_RATE) return undefined;
  const then = averages.length - 1 - STALLED_FOR;
  const before = averages[indexOfLowest(averages.slice(0, then + 1), 0)]!;
  const since = Math.min(...averages.slice(then + 1));
  if (since < before * (1 - FALLEN)) return undefined;
  return {
    kind: "stalled",
    title: "No progress",
    advice: `The loss has not fallen for ${STALLED_FOR} steps: a higher learning rate or rank may help, or there is nothing more to learn here and you can stop.`,
  };
}

/** The lowest value's index among those from `from` on: the first averages are of few values. */
function indexOfLowest(values: readonly number[], from: number): number {
  let lowest = Math.min(from, values.length - 1);
  for (let index = lowest; index < values.length; index++) {
    if (values[index]! < values[lowest]!) lowest = index;
  }
  return lowest;
}
