/** A training run as the page sees it: start, reports, stop, end; and keeping the machine awake meanwhile. */
import type { AdapterFiles, RunOptions, StepReport } from "postil-engine";
import type { Event, Failure } from "../protocol";
import {
  active,
  adapterLoaded,
  bestAdapter,
  evalFile,
  evaluations,
  initAdapter,
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
import { keepAdapter } from "./keep";

/** Steps whose times are averaged for the time left. */
const PACE_WINDOW = 20;

let stepTimes: number[] = [];
let firstStepAt = 0;
let letSleep: (() => void) | undefined;

export async function startTraining(): Promise<void> {
  const train = trainFile.value?.file;
  if (!train || active.value) return;
  stopGenerating();
  run.value = { status: "preparing" };
  steps.value = [];
  evaluations.value = [];
  stepTimes = [];
  letSleep = stayAwake();
  addEventListener("beforeunload", askFirst);
  const evaluation = evalFile.value?.file;
  try {
    const report = await client().call("start", {
      options: runOptions(settings.value, initAdapter.value?.files),
      train,
      ...(evaluation ? { evaluation } : {}),
    });
    if (report.eval_loss !== undefined) evaluations.value = [{ step: 0, loss: report.eval_loss }];
    firstStepAt = performance.now();
    stepTimes = [firstStepAt];
    adapterLoaded.value = true;
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

export function runOptions(chosen: Settings, init: AdapterFiles | undefined): RunOptions {
  const { r, lora_alpha, lora_dropout, target_modules, ...train } = chosen;
  return {
    lora: { r, lora_alpha, lora_dropout, target_modules },
    train,
    ...(init ? { init_adapter: init } : {}),
  };
}

export function onTrainingEvent(event: Extract<Event, { event: "step" | "adapter" | "finished" | "failed" }>): void {
  switch (event.event) {
    case "step":
      onStep(event.report);
      return;
    case "adapter":
      save(event.adapter, event.step, false);
      if (event.best) keepBest(event.adapter, event.step);
      return;
    case "finished": {
      const { best_eval_loss, best_step } = event.report;
      run.value = {
        ...run.value,
        status: event.stopped ? "stopped" : "finished",
        ...(best_eval_loss === undefined ? {} : { bestEvalLoss: best_eval_loss }),
        ...(best_step === undefined ? {} : { bestStep: best_step }),
      };
      adapterLoaded.value = true;
      save(event.adapter, event.report.step, true);
      if (best_step === event.report.step) keepBest(event.adapter, best_step);
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

function save(files: AdapterFiles, step: number, complete: boolean): void {
  savedAdapter.value = { files, step, complete };
  void keepAdapter({ files, step, complete, date: Date.now() });
}

function keepBest(files: AdapterFiles, step: number): void {
  const loss = evaluations.value.find((evaluation) => evaluation.step === step)?.loss;
  if (loss !== undefined) bestAdapter.value = { files, step, complete: false, loss };
}

async function fail(message: string): Promise<void> {
  endRun();
  run.value = { ...run.value, status: "failed", error: message };
  adapterLoaded.value = await client()
    .call("has_adapter", {})
    .catch(() => false);
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
