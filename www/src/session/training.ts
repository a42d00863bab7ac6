/** A training run as the page sees it: start, reports, pauses, end; and keeping the machine awake meanwhile. */
import { batch } from "@preact/signals";
import { adapterOf, CONFIG_NAME, MODEL_NAME, PostilError, type CheckpointFiles, type Compiling, type DataFile, type Run as EngineRun, type RunEvent, type StepReport } from "postil";
import {
  active,
  bestAdapter,
  chosenAdapter,
  chosenCopy,
  chosenSet,
  evalFile,
  evaluations,
  find,
  initAdapter,
  loadedAdapters,
  modelInfo,
  modelSource,
  offered,
  run,
  samplePrompts,
  samples,
  runSettings,
  savedAdapter,
  steps,
  sweeping,
  trainFile,
  type KeptRun,
  type Run,
  type SavedAdapter,
  type Settings,
} from "../state";
import { stayAwake, type Awake } from "./awake";
import { tuner } from "./engine";
import { compareSamples, stopGenerating } from "./compare";
import { newEntry, samplingNow, type Beginning } from "./entry";
import { keepFew } from "./loaded";
import { addRun, changeRun, letGo, take } from "./history";
import { askToPersist, type Files } from "./store";
import { until } from "./until";

/** Steps whose times are averaged for the time left. */
const PACE_WINDOW = 20;

/** How long reports wait at most in a hidden tab, which draws no frames. */
const HIDDEN_FLUSH_MS = 250;

let stepTimes: number[] = [];
/** Of the run, without its pauses. */
let clock: { before: number; hiddenBefore: number; since?: number } = { before: 0, hiddenBefore: 0 };
let awake: Awake | undefined;
let current: EngineRun | undefined;
/** What the run is trained on. */
let base: SavedAdapter["model"] | undefined;
/** Reports of steps that are not shown yet. */
let reports: StepReport[] = [];
let cancelFlush: (() => void) | undefined;

/** A kept run that goes on from its checkpoint. */
export interface Resumed {
  kept: KeptRun;
  checkpoint: Files;
  best: Files | undefined;
  /** Its settings have more steps than the checkpoint's run. */
  extend: boolean;
}

interface Launch extends Beginning {
  resumed?: Resumed;
}

export async function startTraining(): Promise<void> {
  const train = trainFile.value?.file;
  // Between two of its runs a sweep has the engine, too.
  if (!train || active.value || sweeping.value) return;
  await launch({
    id: crypto.randomUUID(),
    settings: runSettings.value,
    train,
    evaluation: evalFile.value?.file,
    sampling: samplingNow(),
    init: initAdapter.value,
  });
}

/** A run from its start to its end, whatever that is. */
export async function runOnce(what: Omit<Launch, "id" | "resumed">): Promise<Run> {
  await launch({ id: crypto.randomUUID(), ...what });
  await until(() => !active.value);
  return run.value;
}

export async function goOnFrom(
  resumed: Resumed,
  its: Settings,
  train: DataFile,
  evaluation: DataFile | undefined,
): Promise<void> {
  const { id, sampling } = resumed.kept;
  await launch({ id, settings: its, train, evaluation, sampling, resumed });
}

/** The status may have changed while something was waited for. */
const isStopping = (): boolean => run.value.status === "stopping";

async function launch(what: Launch): Promise<void> {
  if (active.value) return;
  const { id, train, evaluation, sampling, resumed } = what;
  askToPersist();
  stopGenerating();
  const { kept, checkpoint } = resumed ?? {};
  run.value = { id, status: "preparing", data: kept?.data.set ?? chosenSet.value?.id ?? train.name };
  offered.value = undefined;
  const upTo = kept?.checkpoint ?? 0;
  steps.value = kept?.steps.filter(({ step }) => step <= upTo) ?? [];
  evaluations.value = kept?.evaluations.filter(({ step }) => step <= upTo) ?? [];
  samples.value = kept?.samples.filter(({ step }) => step <= upTo) ?? [];
  samplePrompts.value = sampling?.prompts ?? [];
  stepTimes = [];
  reports = [];
  awake = stayAwake();
  addEventListener("beforeunload", askFirst);
  try {
    if (!(await take(id))) throw new Error("This run is running in another tab.");
    // Stopped before the engine has been asked.
    if (isStopping()) {
      endUnbegun();
      return;
    }
    base = { info: modelInfo.value!, ...(modelSource.value ? { source: modelSource.value } : {}) };
    current = tuner().train({
      ...what.settings,
      adapter: id,
      data: train,
      evaluation,
      init_adapter: what.init?.files,
      ...(checkpoint ? { checkpoint, extend: resumed!.extend } : {}),
      samples: sampling,
      onEvent: onTrainingEvent,
    });
    const report = await current.started;
    if (report.eval_loss !== undefined) evaluations.value = [{ step: 0, loss: report.eval_loss }];
    const since = performance.now();
    clock = { before: kept?.seconds ?? 0, hiddenBefore: kept?.secondsHidden ?? 0, since };
    stepTimes = [since];
    const last = steps.value.at(-1);
    run.value = {
      ...run.value,
      status: isStopping() ? "stopping" : "training",
      start: report,
      ...(last ? { last } : {}),
      ...(kept?.best ? { bestEvalLoss: kept.best.loss, bestStep: kept.best.step } : {}),
    };
    if (resumed) {
      const { kept, checkpoint, best } = resumed;
      const data = run.value.data ?? "";
      savedAdapter.value = { run: id, model: base, files: adapterOf(checkpoint), step: report.step, complete: false, data };
      bestAdapter.value = best && kept.best && { run: id, model: base, files: adapterOf(best), ...kept.best, complete: false, data };
      changeRun(id, { status: "training", settings: what.settings, total_steps: report.total_steps, ...curves(), seconds: clock.before });
    } else {
      bestAdapter.value = undefined;
      await addRun(newEntry(what, report), {
        train: train.data,
        ...(evaluation ? { evaluation: evaluation.data } : {}),
      });
    }
    const title = find(id)?.title ?? "This run";
    loadedAdapters.value = [...loadedAdapters.value.filter((other) => other.id !== id), { id, title }];
    chosenAdapter.value = id;
    chosenCopy.value = { which: "last" };
    // A sweep keeps what it needs by itself.
    if (!sweeping.value) await keepFew();
  } catch (error) {
    if (error instanceof PostilError && error.kind === "Cancelled") {
      endUnbegun();
      return;
    }
    await fail(error instanceof PostilError ? error : { kind: "Internal", message: error instanceof Error ? error.message : String(error) });
  }
}

export async function stopTraining(): Promise<void> {
  if (!active.value) return;
  run.value = { ...run.value, status: "stopping" };
  await current?.stop();
}

export async function pauseTraining(): Promise<void> {
  if (run.value.status !== "training") return;
  run.value = { ...run.value, status: "pausing" };
  await current?.pause().catch(() => {});
}

/** Ends a pause, for good or for so many steps. */
export async function goOn(stepsToMake?: number): Promise<void> {
  const { id, status } = run.value;
  if (status !== "paused" || id === undefined) return;
  const since = performance.now();
  clock.since = since;
  stepTimes = [since];
  awake ??= stayAwake();
  run.value = { ...run.value, status: "training" };
  if (stepsToMake === undefined) changeRun(id, { status: "training" });
  if (stepsToMake === undefined) current?.resume();
  else await current?.step(stepsToMake).catch(() => {});
}

function onTrainingEvent(event: RunEvent): void {
  if (event.event === "step") {
    onStep(event.report);
    return;
  }
  if (event.event === "compiling") {
    showCompiling(event);
    return;
  }
  flush();
  switch (event.event) {
    case "checkpoint":
      save(event.files, event.step, false, event.best);
      return;
    case "samples":
      samples.value = [...samples.value.filter(({ step }) => step < event.step), { step: event.step, texts: event.texts }];
      return;
    case "samples_failed":
      run.value = { ...run.value, error: `There are no more samples: ${event.error.message}` };
      return;
    case "paused":
      holdClock();
      run.value = { ...run.value, status: "paused" };
      save(event.files, event.step, false, false, { status: "paused" });
      return;
    case "finished": {
      const { best_eval_loss, best_step, step } = event.report;
      holdClock();
      const status = event.stopped ? "stopped" : "finished";
      run.value = {
        ...run.value,
        status,
        ...(best_eval_loss === undefined ? {} : { bestEvalLoss: best_eval_loss }),
        ...(best_step === undefined ? {} : { bestStep: best_step }),
      };
      save(event.files, step, true, best_step === step, { status });
      endRun();
      void compareSamples();
      return;
    }
    case "failed":
      if (!event.error.fatal) void fail(event.error);
  }
}

/** A state of its own as long as it lasts. */
function showCompiling({ done, total }: Compiling): void {
  const { compiling, ...others } = run.value;
  const concerns = others.status === "preparing" || others.status === "training";
  if (concerns && done < total) run.value = { ...others, compiling: { done, total } };
  else if (compiling) run.value = others;
}

/** Reports are shown once a frame, however many there are. */
function onStep(report: StepReport): void {
  stepTimes = [...stepTimes, performance.now()].slice(-PACE_WINDOW - 1);
  reports.push(report);
  if (cancelFlush) return;
  const frame = requestAnimationFrame(flush);
  const timer = setTimeout(flush, HIDDEN_FLUSH_MS);
  cancelFlush = () => {
    cancelAnimationFrame(frame);
    clearTimeout(timer);
  };
}

function flush(): void {
  cancelFlush?.();
  cancelFlush = undefined;
  const last = reports.at(-1);
  if (!last) return;
  const held = reports.flatMap(({ step, eval_loss }) => (eval_loss === undefined ? [] : [{ step, loss: eval_loss }]));
  const improved = reports.findLast((report) => report.improved);
  const [first = 0] = stepTimes;
  const pace = ((stepTimes.at(-1) ?? 0) - first) / Math.max(1, stepTimes.length - 1);
  batch(() => {
    steps.value = [...steps.value, ...reports];
    if (held.length > 0) evaluations.value = [...evaluations.value, ...held];
    run.value = {
      ...run.value,
      last,
      secondsLeft: ((last.total_steps - last.step) * pace) / 1000,
      ...elapsed(),
      ...(improved?.eval_loss === undefined ? {} : { bestEvalLoss: improved.eval_loss, bestStep: improved.step }),
    };
  });
  reports = [];
}

function elapsed(): { seconds: number; secondsHidden: number } {
  const seconds = clock.before + (clock.since === undefined ? 0 : performance.now() - clock.since) / 1000;
  return { seconds, secondsHidden: clock.hiddenBefore + (awake?.secondsHidden() ?? 0) };
}

/** While nothing is computed the machine may sleep. */
function holdClock(): void {
  const { seconds, secondsHidden } = elapsed();
  clock = { before: seconds, hiddenBefore: secondsHidden };
  run.value = { ...run.value, seconds, secondsHidden };
  awake?.end();
  awake = undefined;
}

function curves(): Pick<KeptRun, "steps" | "evaluations" | "samples" | "seconds" | "secondsHidden"> {
  const { seconds = 0, secondsHidden = 0 } = run.value;
  return { steps: steps.value, evaluations: evaluations.value, samples: samples.value, seconds, secondsHidden };
}

function save(checkpoint: CheckpointFiles, step: number, complete: boolean, isBest: boolean, change: Partial<KeptRun> = {}): void {
  const files = adapterOf(checkpoint);
  const data = run.value.data ?? "";
  const { id } = run.value;
  if (id === undefined || !base) return;
  savedAdapter.value = { run: id, model: base, files, step, complete, data };
  const loss = evaluations.value.find((evaluation) => evaluation.step === step)?.loss;
  const best = isBest && loss !== undefined ? { step, loss } : undefined;
  if (best) bestAdapter.value = { run: id, model: base, files, complete: false, data, ...best };
  const all = { ...change, ...curves(), checkpoint: step, ...(best ? { best } : {}) };
  changeRun(id, all, {
    checkpoint,
    ...(best ? { best: { [CONFIG_NAME]: files.config, [MODEL_NAME]: files.model } } : {}),
  });
}

async function fail({ kind, message }: Pick<PostilError, "kind" | "message">): Promise<void> {
  flush();
  const { id, start } = run.value;
  run.value = { ...run.value, status: "failed", error: message, errorKind: kind };
  // Of a run that could not even begin nothing has changed.
  if (id !== undefined && start) changeRun(id, { status: "failed", error: message, errorKind: kind, isFatal: false, ...curves() });
  endRun();
  const there = await tuner()
    .adapters()
    .catch((): string[] => []);
  loadedAdapters.value = loadedAdapters.value.filter((adapter) => there.includes(adapter.id));
}

/** The worker is gone; what it last sent is what there is. */
export function trainingCrashed(failure: PostilError): void {
  const { id, start } = run.value;
  if (active.value) {
    flush();
    const { kind: errorKind, message: error } = failure;
    run.value = { ...run.value, status: "failed", error, errorKind };
    if (id !== undefined && start) changeRun(id, { status: "failed", error, errorKind, isFatal: true, ...curves() });
  }
  endRun();
}

function endRun(): void {
  const { compiling, ...others } = run.value;
  if (compiling) run.value = others;
  awake?.end();
  awake = undefined;
  removeEventListener("beforeunload", askFirst);
  if (run.value.id !== undefined) void letGo(run.value.id);
}

/** As if it had never been asked for. */
function endUnbegun(): void {
  endRun();
  run.value = { status: "idle" };
}

/** Asks before a run in progress is left. */
function askFirst(event: BeforeUnloadEvent): void {
  event.preventDefault();
}

