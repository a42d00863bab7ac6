/** Starting up: what the browser has, the worker, the model. And starting again after a crash. */
import { fromFolder, PostilError, Tuner, UnsupportedError, type LoadProgress, type ModelSource } from "postil";
import {
  chosenAdapter,
  chosenCopy,
  device,
  keptModels,
  linked,
  linkNotes,
  loadedAdapters,
  model,
  modelNotices,
  modelSource,
  phase,
  settings,
} from "../state";
import { inspectData, loadDataSets } from "./data";
import { endTuner, tuner, useTuner } from "./engine";
import { sendBudget } from "./memory";
import { fromHub, fromKept, listKept, sharedName } from "./models";
import { applySettings, countParameters, dropAdapter } from "./settings";
import { trainingCrashed } from "./training";

export const BUILT_IN: ModelSource = fromFolder(new URL("demo/", document.baseURI));

const NOT_YET = { name: "loading", title: "", stage: "download", progress: { done: 0, total: 0 } } as const;

/** Loaded again after a crash. */
let chosen: ModelSource = BUILT_IN;

export async function start(): Promise<void> {
  phase.value = { name: "starting" };
  // What the page shows meanwhile needs an engine that has a model.
  model.value = NOT_YET;
  endTuner();
  try {
    const next = await Tuner.create({ onLost });
    useTuner(next);
    device.value = next.device;
    await sendBudget();
  } catch (error) {
    if (error instanceof UnsupportedError && error.reason) phase.value = { name: "unsupported", reason: error.reason, message: error.message };
    else if (error instanceof PostilError && error.fatal) onLost(error);
    else phase.value = { name: "failed", message: error instanceof Error ? error.message : String(error) };
    return;
  }
  phase.value = { name: "ready" };
  await Promise.all([loadFirst(), loadDataSets()]);
}

/** The model that the address names if it is kept in this browser: nothing is downloaded unasked. */
async function loadFirst(): Promise<void> {
  await listKept();
  const wanted = chosen === BUILT_IN ? linked.value?.model : undefined;
  const kept = wanted && keptModels.value.find(({ name, complete }) => complete && name === wanted);
  await loadModel(kept ? fromKept(kept) : chosen, true);
}

/** Loads the model that an address or a run file named. */
export async function loadLinked(): Promise<void> {
  const source = fromHub(linked.value?.model ?? "");
  if (typeof source === "string") linkNotes.value = [...linkNotes.value, source];
  else await loadModel(source);
}

/** With `isFirst`, settings that came by the address go on waiting for their model; otherwise the user chose another. */
export async function loadModel(source: ModelSource, isFirst = false): Promise<void> {
  const [before, chosenBefore] = [model.value, chosen];
  chosen = source;
  const loading = new AbortController();
  const { signal } = loading;
  const nothing = { done: 0, total: 0 };
  // Only what comes from the network takes long enough to be cancelled.
  const cancel = "hub" in source ? { cancel: () => loading.abort() } : {};
  model.value = { name: "loading", title: source.name, stage: "download", progress: nothing, ...cancel };
  modelNotices.value = [];
  try {
    const info = await tuner().loadModel(source, { signal, onProgress, onNotice });
    forgetAdapter();
    const still = settings.value.target_modules.filter((name) => info.target_modules.includes(name));
    settings.value = {
      ...settings.value,
      target_modules: still.length > 0 ? still : info.target_modules,
      max_length: Math.min(settings.value.max_length, info.max_position_embeddings),
    };
    model.value = { name: "loaded", info };
    modelSource.value = source;
    const wanted = linked.value;
    if (wanted && wanted.model === sharedName(source))
      linkNotes.value = [...linkNotes.value, ...applySettings(wanted.settings, wanted.isWhole)];
    if (!isFirst || wanted?.model === sharedName(source)) linked.value = undefined;
  } catch (error) {
    const message = signal.aborted ? "Loading was cancelled." : error instanceof Error ? error.message : String(error);
    const isTooLarge = error instanceof PostilError && error.kind === "OverBudget";
    const text = isTooLarge ? `${message} (Memory budget, under Train).` : message;
    if (before.name === "loaded" && tuner().model) {
      chosen = chosenBefore;
      model.value = before;
      const refusal = `“${source.name}” was not taken, and “${before.info.name}” is still loaded and can be used: ${text}`;
      modelNotices.value = [signal.aborted ? { kind: "note", text } : { kind: "error", text: refusal }];
      return;
    }
    forgetAdapter();
    modelSource.value = undefined;
    model.value = { name: "failed", message: text };
    return;
  } finally {
    void listKept();
  }
  await Promise.all([countParameters(), inspectData()]);
}

function forgetAdapter(): void {
  loadedAdapters.value = [];
  chosenAdapter.value = undefined;
  chosenCopy.value = { which: "last" };
  dropAdapter();
}

function onProgress({ stage, ...progress }: LoadProgress): void {
  if (model.value.name === "loading") model.value = { ...model.value, stage, progress };
}

function onNotice(text: string): void {
  modelNotices.value = [...modelNotices.value, { kind: "note", text }];
}

function onLost(failure: PostilError): void {
  trainingCrashed(failure);
  loadedAdapters.value = [];
  phase.value = { name: "crashed", failure };
}
