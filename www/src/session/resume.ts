/** Going on with a kept run: its model, settings and data are put in place, then the engine goes on from its checkpoint. */
import type { DataFile } from "postil";
import { active, DEFAULTS, find, isOf, linkNotes, model, modelInfo, offered, phase, runsError, type KeptData, type KeptRun } from "../state";
import { loadModel } from "./boot";
import { putData } from "./data";
import { filesOf, hold, letGo, take } from "./history";
import { applySettings, dropAdapter } from "./settings";
import { goOnFrom } from "./training";
import { until } from "./until";

/** There are steps left of the run. */
export const isUnfinished = ({ checkpoint, total_steps }: KeptRun) => checkpoint !== undefined && checkpoint < total_steps;

/** Why the run cannot go on as things are, for a person to read. */
export function obstacle({ checkpoint, model, bytes }: KeptRun): string | undefined {
  if (checkpoint === undefined) return "It ended before its first checkpoint. Apply its settings and train anew.";
  if (bytes.data === undefined) return "Its data could not be kept.";
  if (!model.source && !(modelInfo.value && isOf(modelInfo.value, model))) {
    return `Its model came from files on your disk. Choose those of “${model.info.name}” under Model first.`;
  }
  return undefined;
}

let underWay = false;

/** Goes on to the run's end, or `more` steps further than that. */
export async function resumeRun(id: string, more = 0): Promise<void> {
  if (active.value || underWay) return;
  underWay = true;
  runsError.value = undefined;
  try {
    await resume(id, more);
  } catch (error) {
    runsError.value = `The run cannot go on: ${error instanceof Error ? error.message : String(error)}`;
    await letGo(id);
  } finally {
    underWay = false;
  }
}

async function resume(id: string, more: number): Promise<void> {
  if (!(await take(id))) throw new Error("it is running in another tab.");
  // The model that comes with the page ends whatever the engine does when it arrives.
  await until(() => model.value.name !== "loading" || !["starting", "ready"].includes(phase.value.name));
  const kept = find(id);
  if (!kept) throw new Error("it has been deleted.");
  const reason = obstacle(kept);
  if (reason) throw new Error(reason);
  const [checkpoint, best, data] = await Promise.all([filesOf(id, "checkpoint"), filesOf(id, "best"), filesOf(id, "data")]);
  const { train, evaluation } = kept.data;
  const trainData = data && whole(train, data.train);
  if (!checkpoint || !trainData) throw new Error("its files are not in this browser any more.");
  await haveModel(kept);
  // What the page shows is what the run has.
  // A setting that is younger than the run was what it is by default.
  const its = { ...DEFAULTS, ...kept.settings, max_steps: kept.total_steps + more };
  const evaluationData = evaluation && whole(evaluation, data.evaluation);
  dropAdapter();
  applySettings(its);
  putData(kept.data.set, trainData, evaluationData);
  hold(id, { checkpoint, data, ...(best ? { best } : {}) });
  await goOnFrom({ kept, checkpoint, best, extend: more > 0 }, its, trainData, evaluationData);
}

async function haveModel({ model }: KeptRun): Promise<void> {
  if (modelInfo.value && isOf(modelInfo.value, model)) return;
  if (model.source) await loadModel(model.source);
  if (!modelInfo.value || !isOf(modelInfo.value, model)) {
    throw new Error(`its model, ${model.info.name}, could not be loaded as it was. Load it under Model first.`);
  }
}

function whole(file: KeptData, data: Uint8Array | undefined): DataFile | undefined {
  return data && { ...file, data };
}

/** The run that is offered is left alone until the next visit. */
export const putAside = () => (offered.value = undefined);

/** Does something with a kept run, and says what went wrong. */
export function attempt(act: () => Promise<void>): void {
  runsError.value = undefined;
  act().catch((error: unknown) => (runsError.value = error instanceof Error ? error.message : String(error)));
}

/** The run's settings, for the next one; what the model does not have is left out, and said. */
export function takeSettings(id: string): void {
  const kept = find(id);
  if (!kept || active.value) return;
  linkNotes.value = applySettings(kept.settings);
}
