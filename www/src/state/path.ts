/** The steps from a model to an adapter, and how each of them stands. */
import { computed } from "@preact/signals";
import type { Compiling } from "postil";
import { compact, percent, plural } from "../format";
import { adapterLoaded, comparisons, compilingText, generating } from "./compare";
import { evalFile, trainFile } from "./data";
import { model, modelInfo, modelMissing } from "./model";
import { copyToTake } from "./download";
import { active, run } from "./run";
import { initAdapter, memoryPlan, parameterCount } from "./settings";

/** Why there is nothing to train yet. */
export const blocker = computed((): string | undefined => {
  if (active.value) return undefined;
  if (!modelInfo.value) return modelMissing.value;
  const train = trainFile.value;
  if (!train) return "Choose the data to train on.";
  if (train.error) return "The training data cannot be used as it is.";
  if (!train.report) return "Reading the data…";
  if (evalFile.value?.error) return "The held-out data cannot be used as it is.";
  if (parameterCount.value.error) return "The adapter’s settings cannot be used as they are.";
  if (memoryPlan.value.report?.fits === false) return "The run does not fit the memory budget.";
  return undefined;
});

/** "done": nothing is left to do; "attention": something has to be done first; "open": it can be done. */
export type StepStatus = "done" | "attention" | "working" | "open" | "later";

export interface Step {
  /** Of its panel. */
  number: number;
  title: string;
  status: StepStatus;
  /** The state in a few words. */
  words: string;
}

export const path = computed((): Step[] => [
  { number: 1, title: "Model", ...modelStep() },
  { number: 2, title: "Data", ...dataStep() },
  { number: 3, title: "Adapter", ...adapterStep() },
  { number: 4, title: "Train", ...trainStep() },
  { number: 5, title: "Compare", ...compareStep() },
  { number: 6, title: "Download", ...downloadStep() },
]);

type State = Pick<Step, "status" | "words">;

function modelStep(): State {
  const now = model.value;
  switch (now.name) {
    case "loaded":
      return { status: "done", words: now.info.name };
    case "failed":
      return { status: "attention", words: "could not be loaded" };
    case "loading": {
      const { done, total } = now.progress;
      return { status: "working", words: total > 0 ? `loading, ${percent((100 * done) / total)}` : "loading" };
    }
  }
}

const withoutModel = (): State =>
  model.value.name === "failed" ? { status: "later", words: "there is no model" } : { status: "working", words: "waits for the model" };

function dataStep(): State {
  const [train, held] = [trainFile.value, evalFile.value];
  if (!train) return { status: "attention", words: "none chosen" };
  if (train.error || held?.error) return { status: "attention", words: "cannot be used as it is" };
  if (!train.report) return modelInfo.value ? { status: "working", words: "being read" } : withoutModel();
  return { status: "done", words: plural(train.report.examples, "example") };
}

function adapterStep(): State {
  const { count, error } = parameterCount.value;
  if (error) return { status: "attention", words: "settings need a change" };
  if (!count) return withoutModel();
  return { status: "done", words: initAdapter.value ? "an existing one" : `${compact(count.trainable)} parameters` };
}

const ofCompiling = ({ done, total }: Compiling): State => ({ status: "working", words: `compiling shaders, ${done} of ${total}` });

function trainStep(): State {
  const { status, compiling, start, last } = run.value;
  if (compiling) return ofCompiling(compiling);
  const at = `step ${last?.step ?? 0} of ${start?.total_steps ?? 0}`;
  switch (status) {
    case "preparing":
      return { status: "working", words: "preparing" };
    case "training":
    case "pausing":
    case "stopping":
      return { status: "working", words: at };
    case "paused":
      return { status: "attention", words: `paused, ${at}` };
    case "finished":
      return { status: "done", words: "finished" };
    case "stopped":
      return { status: "done", words: `stopped, ${at}` };
    case "failed":
      return { status: "attention", words: "ended by an error" };
    case "idle":
      return blocker.value ? { status: "later", words: "not yet" } : { status: "open", words: "ready to start" };
  }
}

function compareStep(): State {
  if (compilingText.value) return ofCompiling(compilingText.value);
  if (generating.value) return { status: "working", words: "writing" };
  if (comparisons.value.some(({ turns }) => turns.some(({ tuned }) => tuned?.status === "done"))) return { status: "done", words: "compared" };
  if (adapterLoaded.value) return { status: "open", words: "base and tuned" };
  return modelInfo.value ? { status: "open", words: "base only so far" } : { status: "later", words: "not yet" };
}

function downloadStep(): State {
  const saved = copyToTake.value;
  if (!saved) return { status: "later", words: "after training" };
  return { status: "open", words: `adapter of step ${saved.step}` };
}
