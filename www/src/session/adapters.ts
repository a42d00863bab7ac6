/** Adapters in the engine: of kept runs, and brought by the user. */
import { adapterOf, readAdapter, zipAdapter, type AdapterFiles } from "postil";
import { active, adapterError, bestAdapter, chosenAdapter, find, loadedAdapters, modelInfo, run, type InitAdapter, type KeptRun } from "../state";
import { chooseAdapter, rewriteTuned } from "./compare";
import { tuner } from "./engine";
import { filesOf } from "./history";
import { isOf } from "./resume";
import { saveFile } from "./save";

export type Which = "last" | "best";

/** What a run's copy is called. */
export const copyTitle = (kept: KeptRun, which: Which) =>
  `${kept.title}, ${which === "best" ? `best, step ${kept.best?.step}` : `step ${kept.checkpoint}`}`;

/** The engine's id of a run's copy of a step: of the run that is under way another one can follow. */
export const copyId = (run: string, which: Which, step: number | undefined) => `${run}/${which}/${step}`;

/**
 * Loads a kept run's adapter into the engine and chooses it. The one of the run that is under way is there already.
 * Fails with words for a person where that cannot be.
 */
export async function useRunAdapter(id: string, which: Which): Promise<void> {
  const kept = find(id);
  if (!kept) throw new Error("This run is not kept any more.");
  if (which === "last" && active.value && run.value.id === id) {
    chosenAdapter.value = id;
    return;
  }
  if (!modelInfo.value || !isOf(modelInfo.value, kept.model)) {
    throw new Error(`“${kept.title}” was trained on ${kept.model.info.name}. Load that model first.`);
  }
  const step = which === "best" ? kept.best?.step : kept.checkpoint;
  const engineId = copyId(id, which, step);
  if (!loadedAdapters.value.some((other) => other.id === engineId)) {
    await tuner().loadAdapter(engineId, await runAdapter(id, which));
    loadedAdapters.value = [...loadedAdapters.value, { id: engineId, title: copyTitle(kept, which) }];
  }
  chosenAdapter.value = engineId;
}

/** A kept run's adapter: its last state, or the one with the lowest held-out loss. */
export async function runAdapter(id: string, which: Which): Promise<AdapterFiles> {
  const here = which === "best" && run.value.id === id ? bestAdapter.value : undefined;
  if (here) return here.files;
  const files = await filesOf(id, which === "best" ? "best" : "checkpoint");
  if (!files) throw new Error("This run’s adapter is not in this browser.");
  return adapterOf(files);
}

export async function downloadRunAdapter(id: string, which: Which): Promise<void> {
  const adapter = await runAdapter(id, which);
  const kept = find(id);
  const step = which === "best" ? kept?.best?.step : kept?.checkpoint;
  const name = (kept?.title ?? "").replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "");
  saveFile(zipAdapter(adapter), `${name || "adapter"}-step-${step}.zip`);
}

/** Takes an adapter from the user and chooses it for comparing. The engine checks that it fits the model. */
export async function loadBrought(files: File[]): Promise<InitAdapter> {
  const adapter = { name: nameOf(files), files: await readAdapter(files) };
  const id = `brought/${adapter.name}`;
  await tuner().loadAdapter(id, adapter.files);
  loadedAdapters.value = [...loadedAdapters.value.filter((other) => other.id !== id), { id, title: adapter.name }];
  chosenAdapter.value = id;
  return adapter;
}

/** After the zip, or the file with the weights. */
const nameOf = (files: readonly File[]) => (files.find(({ name }) => name.endsWith(".safetensors")) ?? files[0])?.name ?? "";

/** Compares with the adapter of this id: one that is loaded, or a run's copy. */
export async function changeTo(id: string): Promise<void> {
  adapterError.value = undefined;
  if (loadedAdapters.value.some((other) => other.id === id)) {
    chooseAdapter(id);
    return;
  }
  const [, ofRun, which] = /^(.+)\/(last|best)\/\d+$/.exec(id) ?? [];
  if (ofRun && which) await rewriteAfter(() => useRunAdapter(ofRun, which as Which));
}

/** Takes an adapter for comparing only. */
export async function bringAdapter(files: File[]): Promise<void> {
  await rewriteAfter(() => loadBrought(files));
}

async function rewriteAfter(load: () => Promise<unknown>): Promise<void> {
  adapterError.value = undefined;
  try {
    await load();
    rewriteTuned();
  } catch (error) {
    adapterError.value = error instanceof Error ? error.message : String(error);
  }
}
