/** Runs a sweep on the base that is loaded, each run with the same data, order and seed. */
import {
  active,
  bestAdapter,
  chosenAdapter,
  chosenSet,
  evalFile,
  evaluations,
  loadedAdapters,
  modelInfo,
  phase,
  run,
  savedAdapter,
  settings,
  sweep,
  sweepPlan,
  sweeping,
  sweepSets,
  trainFile,
  type SweepPlan,
  type SweepRow,
} from "../state";
import { rewriteTuned } from "./compare";
import { tuner } from "./engine";
import type { Beginning } from "./entry";
import { runOnce, stopTraining } from "./training";

export function changePlan(change: Partial<SweepPlan>): void {
  sweepPlan.value = { ...sweepPlan.value, ...change };
}

/** The runs that the plan makes: by targets, then by rank. */
export function planned(): SweepRow[] {
  const { ranks, targets, alpha } = sweepPlan.value;
  const sets = sweepSets(modelInfo.value?.target_modules ?? [], settings.value.target_modules);
  return sets
    .filter(({ id, target_modules }) => targets.includes(id) && target_modules.length > 0)
    .flatMap((set) =>
      [...ranks]
        .sort((one, other) => one - other)
        .map((r) => ({ r, lora_alpha: alpha === "twice" ? 2 * r : alpha, targets: set, status: "waiting" as const })),
    );
}

export async function startSweep(): Promise<void> {
  const rows = planned();
  const [train, evaluation, base] = [trainFile.value, evalFile.value, modelInfo.value];
  if (active.value || sweeping.value || rows.length === 0 || !train?.report || !evaluation?.report) return;
  // What is chosen while the sweep goes on is not for it.
  const common = { settings: settings.value, train: train.file, evaluation: evaluation.file };
  const data = chosenSet.value?.id ?? train.file.name;
  sweep.value = { status: "running", rows, data, steps: common.settings.max_steps };
  lowest = undefined;
  for (const [index, row] of rows.entries()) {
    const goesOn = sweep.value.status === "running" && phase.value.name === "ready" && modelInfo.value === base;
    if (!goesOn) update(index, { status: "left out" });
    else await make(index, row, common);
  }
  sweep.value = { ...sweep.value, status: "over" };
  showLowest();
}

/** Compare and Download are left with the best of the sweep. */
function showLowest(): void {
  if (!lowest || phase.value.name !== "ready") return;
  savedAdapter.value = lowest.saved;
  bestAdapter.value = lowest.best;
  chosenAdapter.value = lowest.id;
  rewriteTuned();
}

/** The run in progress is brought to its end, and no other is begun. */
export function endAfterThis(): void {
  if (sweep.value.status === "running") sweep.value = { ...sweep.value, status: "ending" };
}

export function endNow(): void {
  endAfterThis();
  void stopTraining();
}

/** The sweep's adapter with the lowest held-out loss so far; of the others the engine and the page keep nothing. */
let lowest: { id: string; loss: number; saved: typeof savedAdapter.value; best: typeof bestAdapter.value } | undefined;

async function make(index: number, row: SweepRow, common: Pick<Beginning, "settings" | "train" | "evaluation">): Promise<void> {
  const { r, lora_alpha } = row;
  const target_modules = [...row.targets.target_modules];
  update(index, { status: "running" });
  try {
    const { trainable } = await tuner().countParameters({ r, lora_alpha, target_modules });
    update(index, { trainable });
  } catch (error) {
    update(index, { status: "failed", error: error instanceof Error ? error.message : String(error) });
    return;
  }
  const title = `Sweep: rank ${r}, ${row.targets.title}`;
  // A swept rank is every module's.
  const settings = { ...common.settings, r, lora_alpha, target_modules, rank_pattern: {}, alpha_pattern: {} };
  const ended = await runOnce({ ...common, settings, title });
  const held = evaluations.value.filter(({ step }) => step > 0);
  const best = held.reduce((low, one) => (low && low.loss <= one.loss ? low : one), held[0]);
  const figures = {
    ...(best ? { evalLoss: best.loss, bestStep: best.step } : {}),
    ...(ended.seconds === undefined ? {} : { seconds: ended.seconds }),
  };
  if (ended.status === "finished") update(index, { ...figures, status: "done" });
  else if (ended.status === "failed") update(index, { ...figures, status: "failed", ...(ended.error ? { error: ended.error } : {}) });
  else {
    update(index, { ...figures, status: "stopped" });
    // Who stops a run means the rest too.
    endAfterThis();
  }
  if (ended.status === "finished" && ended.id && best) await keepLowest(ended.id, best.loss);
}

/** Of a sweep's adapters only the best stays on the GPU, which they would otherwise fill. */
async function keepLowest(id: string, loss: number): Promise<void> {
  const better = !lowest || loss < lowest.loss;
  const other = better ? lowest?.id : id;
  if (better) lowest = { id, loss, saved: savedAdapter.value, best: bestAdapter.value };
  if (other === undefined) return;
  // After a crash there is nothing to drop.
  await tuner().dropAdapter(other).catch(() => null);
  loadedAdapters.value = loadedAdapters.value.filter((loaded) => loaded.id !== other);
}

function update(index: number, change: Partial<SweepRow>): void {
  const rows = sweep.value.rows.map((row, at) => (at === index ? { ...row, ...change } : row));
  sweep.value = { ...sweep.value, rows };
}

/** Seconds until all runs are over, at the pace of the one in progress. */
export function sweepSecondsLeft(): number | undefined {
  const { last, secondsLeft, seconds } = run.value;
  if (!sweeping.value || !last || secondsLeft === undefined || seconds === undefined) return undefined;
  const waiting = sweep.value.status === "running" ? sweep.value.rows.filter(({ status }) => status === "waiting").length : 0;
  const stepsLeft = last.total_steps - last.step;
  const pace = stepsLeft > 0 ? secondsLeft / stepsLeft : seconds / last.step;
  return secondsLeft + waiting * sweep.value.steps * pace;
}

/** Steps made so far, of all runs. */
export function sweepStepsDone(): number {
  const { rows, steps } = sweep.value;
  const over = rows.filter(({ status }) => !["waiting", "running"].includes(status)).length;
  const current = rows.some(({ status }) => status === "running") && active.value ? (run.value.last?.step ?? 0) : 0;
  return over * steps + current;
}
