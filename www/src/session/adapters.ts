/** Adapters in the engine: of kept runs, and brought by the user. */
import { adapterOf, readAdapter, type AdapterFiles } from "postil";
import {
  active,
  adapterError,
  bestAdapter,
  chosenAdapter,
  chosenCopy,
  copyError,
  find,
  isOf,
  keptCopy,
  loadedAdapters,
  modelInfo,
  run,
  runs,
  type InitAdapter,
  type KeptRun,
  type SavedAdapter,
  type Which,
} from "../state";
import { chooseAdapter, rewriteTuned } from "./compare";
import { tuner } from "./engine";
import { filesOf } from "./history";
import { copyId, copyOfId, keepFew } from "./loaded";

/** What a run's copy is called. */
export const copyTitle = (kept: KeptRun, which: Which) =>
  `${kept.title}, ${which === "best" ? `best, step ${kept.best?.step}` : `step ${kept.checkpoint}`}`;

export interface Copy {
  /** The engine's id of it. */
  id: string;
  run: string;
  which: Which;
  title: string;
}

/** The copies that the kept runs of the loaded model have. */
export function keptCopies(): Copy[] {
  const info = modelInfo.value;
  if (!info) return [];
  return runs.value
    .filter(({ model }) => isOf(info, model))
    .flatMap((kept) => {
      const copy = (which: Which): Copy => ({ id: copyId(kept.id, which, stepOf(kept, which)), run: kept.id, which, title: copyTitle(kept, which) });
      const hasLast = kept.checkpoint !== undefined;
      const hasBest = kept.best !== undefined && kept.best.step !== kept.checkpoint;
      return [...(hasLast ? [copy("last")] : []), ...(hasBest ? [copy("best")] : [])];
    });
}

const stepOf = (kept: KeptRun, which: Which) => (which === "best" ? kept.best?.step : kept.checkpoint);

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
  const engineId = copyId(id, which, stepOf(kept, which));
  if (!loadedAdapters.value.some((other) => other.id === engineId)) {
    await tuner().loadAdapter(engineId, await runAdapter(id, which));
    loadedAdapters.value = [...loadedAdapters.value, { id: engineId, title: copyTitle(kept, which) }];
  }
  chosenAdapter.value = engineId;
  await keepFew();
}

/** A kept run's adapter: its last state, or the one with the lowest held-out loss. */
export async function runAdapter(id: string, which: Which): Promise<AdapterFiles> {
  const here = which === "best" && run.value.id === id ? bestAdapter.value : undefined;
  if (here) return here.files;
  const files = await filesOf(id, which === "best" ? "best" : "checkpoint");
  if (!files) throw new Error("This run’s adapter is not in this browser.");
  return adapterOf(files);
}

/** A kept run's adapter as it can be taken away. */
export async function copyOfRun(id: string, which: Which): Promise<SavedAdapter> {
  const files = await runAdapter(id, which);
  const kept = find(id);
  const step = kept && stepOf(kept, which);
  if (!kept || step === undefined) throw new Error("This run is not kept any more.");
  const complete = kept.status === "finished" || kept.status === "stopped";
  return { run: id, model: kept.model, files, step, complete, data: kept.data.set ?? kept.data.train.name };
}

/** Chooses what Download takes: of the run that the page has, or of a kept one. */
export async function chooseCopy(choice: typeof chosenCopy.value): Promise<void> {
  chosenCopy.value = choice;
  keptCopy.value = undefined;
  copyError.value = undefined;
  if (choice.run === undefined) return;
  try {
    const copy = await copyOfRun(choice.run, choice.which);
    if (chosenCopy.value === choice) keptCopy.value = copy;
  } catch (error) {
    if (chosenCopy.value === choice) copyError.value = error instanceof Error ? error.message : String(error);
  }
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
  const copy = copyOfId(id);
  if (copy) await rewriteAfter(() => useRunAdapter(copy.run, copy.which));
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
