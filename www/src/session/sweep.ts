/** Runs a sweep on the base that is loaded, each run with the same data, order and seed. */
import {
  active,
  adapterError,
  bestAdapter,
  chosenAdapter,
  chosenCopy,
  chosenSet,
  evalFile,
  evaluations,
  find,
  loadedAdapters,
  modelInfo,
  phase,
  run,
  runSettings,
  savedAdapter,
  settings,
  sweep,
  sweepPlan,
  sweeping,
  sweepSets,
  trainFile,
  type RunStatus,
  type SweepPlan,
  type SweepRow,
} from "../state";
import { rewriteTuned } from "./compare";
import { copyTitle } from "./adapters";
import { tuner } from "./engine";
import type { Beginning } from "./entry";
import { keepSweep, lastSweep } from "./history";
import { copyId, drop, keepFew } from "./loaded";
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
  const isEvaluated = evaluation ? evaluation.report : runSettings.value.eval_split > 0;
  if (active.value || sweeping.value || rows.length === 0 || !train?.report || !isEvaluated) return;
  // What is chosen while the sweep goes on is not for it.
  const common = { settings: runSettings.value, train: train.file, evaluation: evaluation?.file };
  const data = chosenSet.value?.id ?? train.file.name;
  sweep.value = { status: "running", rows, data, steps: common.settings.max_steps };
  lowest = undefined;
  for (const [index, row] of rows.entries()) {
    const goesOn = sweep.value.status === "running" && phase.value.name === "ready" && modelInfo.value === base;
    if (!goesOn) update(index, { status: "left out" });
    else await make(index, row, common);
  }
  sweep.value = { ...sweep.value, status: "over" };
  void keepSweep(sweep.value);
  await showLowest();
}

/** Compare and Download are left with the best of the sweep. */
async function showLowest(): Promise<void> {
  if (!lowest || phase.value.name !== "ready") return;
  const { id, saved, best } = lowest;
  savedAdapter.value = saved;
  bestAdapter.value = best;
  chosenCopy.value = { which: "best" };
  chosenAdapter.value = id;
  // What the engine has is the run's last state.
  if (best && best.step !== saved?.step) {
    const own = copyId(id, "best", best.step);
    try {
      await tuner().loadAdapter(own, best.files);
      const kept = find(id);
      loadedAdapters.value = [...loadedAdapters.value, { id: own, title: kept ? copyTitle(kept, "best") : `best, step ${best.step}` }];
      chosenAdapter.value = own;
      await drop(id);
    } catch (error) {
      adapterError.value = error instanceof Error ? error.message : String(error);
    }
  }
  await keepFew();
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
  if (ended.id) await keepLowest(ended.id, ended.status, best?.loss);
}

/** Of a sweep's adapters only the best stays on the GPU, which they would otherwise fill. */
async function keepLowest(id: string, status: RunStatus, loss: number | undefined): Promise<void> {
  if (status === "finished" && loss !== undefined && (!lowest || loss < lowest.loss)) {
    const before = lowest;
    lowest = { id, loss, saved: savedAdapter.value, best: bestAdapter.value };
    if (before) await drop(before.id);
  } else if (lowest || status === "failed") {
    await drop(id);
  }
}

function update(index: number, change: Partial<SweepRow>): void {
  const rows = sweep.value.rows.map((row, at) => (at === index ? { ...row, ...change } : row));
  sweep.value = { ...sweep.value, rows };
  void keepSweep(sweep.value);
}

/** Shows the newest sweep of an earlier visit; what it had not come to is left out. */
export async function showLastSweep(): Promise<void> {
  const last = await lastSweep();
  if (!last || sweep.value.status !== "idle") return;
  const ended = { waiting: "left out", running: "stopped" } as const;
  const rows = last.rows.map((row) => ({ ...row, status: row.status in ended ? ended[row.status as keyof typeof ended] : row.status }));
  sweep.value = { ...last, rows, status: "over", isOld: true };
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
