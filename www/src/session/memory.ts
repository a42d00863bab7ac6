/** What a run would take of the GPU's memory, against what it may take. */
import { effect } from "@preact/signals";
import type { MemoryReport } from "postil";
import { bytes } from "../format";
import { active, evalFile, initAdapter, memoryBudget, memoryLimit, memoryPlan, modelInfo, parameterCount, phase, runSettings, trainFile } from "../state";
import { tuner } from "./engine";
import { changeSettings, settle } from "./settings";

export const GIB = 2 ** 30;

/** Tells older answers from the newest. */
let asked = 0;

/** Plans anew whenever something that a plan depends on has changed. */
export function followPlan(): void {
  effect(() => {
    const parts = [runSettings, trainFile, evalFile, initAdapter, modelInfo, memoryBudget, parameterCount];
    parts.forEach((part) => part.value);
    if (!active.value) settle(plan);
  });
}

async function plan(): Promise<void> {
  const mine = ++asked;
  const train = trainFile.value;
  const evaluation = evalFile.value;
  const isReady = modelInfo.value && train?.report && !evaluation?.error && parameterCount.value.count;
  if (!isReady || active.value) {
    if (!active.value) memoryPlan.value = {};
    return;
  }
  const call = tuner().planMemory({
    ...runSettings.value,
    adapter: "planned",
    data: train.file,
    evaluation: evaluation?.file,
    init_adapter: initAdapter.value?.files,
  });
  const found = await call.then(
    (report) => ({ report }),
    (error) => ({ error: error instanceof Error ? error.message : String(error) }),
  );
  if (mine === asked) memoryPlan.value = found;
}

/** Lets so many GiB be taken; nothing: what the engine thinks that the device has. */
export async function allowMemory(gib: number | undefined): Promise<void> {
  // Set first: what is being typed must not be written over.
  memoryBudget.value = gib;
  // An engine that is not there yet is told when it is.
  if (phase.value.name === "ready") await sendBudget(gib);
}

/** A new engine knows nothing of what was allowed. */
export async function sendBudget(gib = memoryBudget.value): Promise<void> {
  memoryLimit.value = await tuner().setMemoryBudget(gib === undefined ? undefined : Math.max(0, Math.round(gib * GIB)));
}

/** Changes the settings as a proposal says: by default as the one that costs least. */
export function makeItFit(report: MemoryReport, index = report.choice): void {
  const changes = index === null ? undefined : report.proposals[index]?.changes;
  if (changes) changeSettings(changes);
}

/** A proposal in the words of the page's own fields. */
export function describe(changes: MemoryReport["proposals"][number]["changes"]): string {
  const names = {
    gradient_checkpointing: "Gradient checkpointing",
    per_device_train_batch_size: "Batch size",
    gradient_accumulation_steps: "Accumulation",
    max_length: "Maximum length",
  };
  const words = (Object.keys(names) as (keyof typeof names)[]).flatMap((key) => {
    const value = changes[key];
    if (value === undefined) return [];
    return typeof value === "number" ? `${names[key]} ${value}` : `${names[key]} ${value ? "on" : "off"}`;
  });
  return words.join(", ");
}

/** Where the budget comes from, and how sure that is. */
export function budgetSource(budget: MemoryReport["budget"]): string {
  if (budget.source === "given") return "what you allow";
  return `an estimate, as browsers do not tell how much there is: ${budget.source}`;
}

/** Why a run does not start. */
export function shortage(report: MemoryReport): string {
  const { peak, budget, choice, proposals } = report;
  const needs = `The run needs ${bytes(peak)} of GPU memory, and ${bytes(budget.bytes)} may be taken.`;
  if (choice !== null) return `${needs} With one of these changes it fits:`;
  const advice = "Use a lower rank, fewer target modules or a smaller model, or allow more memory if your GPU has it.";
  return proposals.length > 0 ? `${needs} None of these changes is enough. ${advice}` : `${needs} ${advice}`;
}
