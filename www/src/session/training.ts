/** A training run as the page sees it: start, reports, stop, end; and keeping the machine awake meanwhile. */
import type { AdapterFiles, CheckpointFiles, RunOptions, StepReport } from "postil-engine";
import type { Failure, RunEvent } from "../protocol";
import {
  active,
  bestAdapter,
  chosenAdapter,
  evalFile,
  evaluations,
  initAdapter,
  loadedAdapters,
  run,
  savedAdapter,
  settings,
  steps,
  trainFile,
  type Settings,
} from "../state";
import { stayAwake } from "./awake";
import { client } from "./engine";
import { compareSamples, stopGenerating } from "./compare";
import { adapterOf } from "./adapter";
import { keepAdapter } from "./keep";
import { loraOptions, trainOptions } from "./options";

/** Steps whose times are averaged for the time left. */
const PACE_WINDOW = 20;

let stepTimes: number[] = [];
let firstStepAt = 0;
let letSleep: (() => void) | undefined;

export async function startTraining(): Promise<void> {
  const train = trainFile.value?.file;
  if (!train || active.value) return;
  stopGenerating();
  const id = crypto.randomUUID();
  run.value = { id, status: "preparing" };
  steps.value = [];
  evaluations.value = [];
  stepTimes = [];
  letSleep = stayAwake();
  addEventListener("beforeunload", askFirst);
  const evaluation = evalFile.value?.file;
  try {
    const report = await client().call("start", {
      options: runOptions(id, settings.value, initAdapter.value?.files),
      train,
      ...(evaluation ? { evaluation } : {}),
    });
    if (report.eval_loss !== undefined) evaluations.value = [{ step: 0, loss: report.eval_loss }];
    firstStepAt = performance.now();
    stepTimes = [firstStepAt];
    loadedAdapters.value = [...loadedAdapters.value.filter((other) => other.id !== id), { id, title: "This run" }];
    chosenAdapter.value = id;
    bestAdapter.value = undefined;
    run.value = { ...run.value, status: run.value.status === "stopping" ? "stopping" : "training", start: report };
  } catch (error) {
    await fail(error instanceof Error ? error.message : String(error));
  }
}

export async function stopTraining(): Promise<void> {
  if (!active.value) return;
  run.value = { ...run.value, status: "stopping" };
  await client().call("stop", {}).catch(() => {});
}

export async function pauseTraining(): Promise<void> {
  if (run.value.status !== "training") return;
  run.value = { ...run.value, status: "pausing" };
  await client().call("pause", {}).catch(() => {});
}

/** Ends a pause, for good or for so many steps. */
export async function goOn(stepsToMake?: number): Promise<void> {
  if (run.value.status !== "paused") return;
  stepTimes = [performance.now()];
  run.value = { ...run.value, status: "training" };
  await client().call("go_on", stepsToMake === undefined ? {} : { steps: stepsToMake }).catch(() => {});
}

function runOptions(adapter: string, chosen: Settings, init: AdapterFiles | undefined): RunOptions {
  return {
    adapter,
    lora: loraOptions(chosen),
    train: trainOptions(chosen),
    ...(init ? { init_adapter: init } : {}),
  };
}

export function onTrainingEvent(event: RunEvent): void {
  switch (event.event) {
    case "step":
      onStep(event.report);
      return;
    case "checkpoint":
      save(event.files, event.step, false);
      if (event.best) keepBest(event.files, event.step);
      return;
    case "paused":
      save(event.files, event.step, false);
      run.value = { ...run.value, status: "paused" };
      return;
    case "finished": {
      const { best_eval_loss, best_step } = event.report;
      run.value = {
        ...run.value,
        status: event.stopped ? "stopped" : "finished",
        ...(best_eval_loss === undefined ? {} : { bestEvalLoss: best_eval_loss }),
        ...(best_step === undefined ? {} : { bestStep: best_step }),
      };
      save(event.files, event.report.step, true);
      if (best_step === event.report.step) keepBest(event.files, best_step);
      endRun();
      void compareSamples();
      return;
    }
    case "failed":
      if (!event.failure.fatal) void fail(event.failure.message);
  }
}

function onStep(report: StepReport): void {
  const now = performance.now();
  stepTimes = [...stepTimes, now].slice(-PACE_WINDOW - 1);
  const [first = now] = stepTimes;
  const pace = (now - first) / Math.max(1, stepTimes.length - 1);
  steps.value = [...steps.value, report];
  if (report.eval_loss !== undefined) {
    evaluations.value = [...evaluations.value, { step: report.step, loss: report.eval_loss }];
  }
  const secondsLeft = ((report.total_steps - report.step) * pace) / 1000;
  run.value = { ...run.value, last: report, secondsLeft, seconds: (now - firstStepAt) / 1000 };
}

function save(checkpoint: CheckpointFiles, step: number, complete: boolean): void {
  const files = adapterOf(checkpoint);
  savedAdapter.value = { files, step, complete };
  void keepAdapter({ files, step, complete, date: Date.now() });
}

function keepBest(checkpoint: CheckpointFiles, step: number): void {
  const loss = evaluations.value.find((evaluation) => evaluation.step === step)?.loss;
  if (loss !== undefined) bestAdapter.value = { files: adapterOf(checkpoint), step, complete: false, loss };
}

async function fail(message: string): Promise<void> {
  endRun();
  run.value = { ...run.value, status: "failed", error: message };
  const there = await client()
    .call("adapters", {})
    .catch((): string[] => []);
  loadedAdapters.value = loadedAdapters.value.filter(({ id }) => there.includes(id));
}

/** The worker is gone; what it last sent is what there is. */
export function trainingCrashed(failure: Failure): void {
  if (active.value) run.value = { ...run.value, status: "failed", error: failure.message };
  endRun();
}

function endRun(): void {
  letSleep?.();
  letSleep = undefined;
  removeEventListener("beforeunload", askFirst);
}

/** Asks before a run in progress is left. */
function askFirst(event: BeforeUnloadEvent): void {
  event.preventDefault();
}
