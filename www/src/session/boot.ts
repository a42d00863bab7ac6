/** Starting up: what the browser has, the worker, the model. And starting again after a crash. */
import { Client, EngineError } from "../client";
import type { Event, Failure, ModelSource } from "../protocol";
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
  type Unsupported,
} from "../state";
import { inspectData, loadDataSets } from "./data";
import { client, useClient } from "./engine";
import { sendBudget } from "./memory";
import { onMerging } from "./merged";
import { fromHub, fromKept, listKept, sharedName } from "./models";
import { applySettings, countParameters, dropAdapter } from "./settings";
import { onTrainingEvent, trainingCrashed } from "./training";

export const BUILT_IN: ModelSource = { name: "Story model, built in", base: new URL("demo/", document.baseURI).href };

const NOT_YET = { name: "loading", title: "", stage: "download", progress: { done: 0, total: 0 } } as const;

/** Loaded again after a crash. */
let chosen: ModelSource = BUILT_IN;

export async function start(): Promise<void> {
  phase.value = { name: "starting" };
  // What the page shows meanwhile needs an engine that has a model.
  model.value = NOT_YET;
  const reason = await missing();
  if (reason) {
    phase.value = { name: "unsupported", reason };
    return;
  }
  useClient(new Client(onEvent, onCrash));
  try {
    device.value = await client().call("create", {});
    await sendBudget();
  } catch (error) {
    if (error instanceof EngineError && error.fatal) return;
    const message = error instanceof Error ? error.message : String(error);
    phase.value =
      error instanceof EngineError && error.kind === "NoGpu"
        ? { name: "unsupported", reason: "no-adapter", message }
        : { name: "failed", message };
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

/** Asked of the browser itself, before anything large is downloaded. */
async function missing(): Promise<Unsupported | undefined> {
  if (!isSecureContext) return "insecure";
  const { gpu } = navigator as Navigator & { gpu?: { requestAdapter(): Promise<object | null> } };
  if (!gpu) return "no-webgpu";
  const adapter = await gpu.requestAdapter().catch(() => null);
  return adapter ? undefined : "no-adapter";
}

/** With `isFirst`, settings that came by the address go on waiting for their model; otherwise the user chose another. */
export async function loadModel(source: ModelSource, isFirst = false): Promise<void> {
  const [before, chosenBefore] = [model.value, chosen];
  chosen = source;
  const call = client().call("load_model", { source });
  const nothing = { done: 0, total: 0 };
  // Only what comes from the network takes long enough to be cancelled.
  const cancel = "hub" in source ? { cancel: call.cancel } : {};
  model.value = { name: "loading", title: source.name, stage: "download", progress: nothing, ...cancel };
  modelNotices.value = [];
  try {
    const info = await call;
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
      linkNotes.value = [...linkNotes.value, ...applySettings(wanted.settings)];
    if (!isFirst || wanted?.model === sharedName(source)) linked.value = undefined;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const kind = error instanceof EngineError ? error.kind : "";
    const text = kind === "OverBudget" ? `${message} (Memory budget, under Train).` : message;
    if (["Download", "Cancelled", "OverBudget"].includes(kind) && before.name === "loaded") {
      chosen = chosenBefore;
      model.value = before;
      modelNotices.value = [{ kind: kind === "Cancelled" ? "note" : "error", text }];
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

function onEvent(event: Event): void {
  switch (event.event) {
    case "download":
    case "upload":
      if (model.value.name === "loading") {
        const { event: stage, ...progress } = event;
        model.value = { ...model.value, stage, progress };
      }
      return;
    case "merging":
      onMerging(event);
      return;
    case "notice":
      modelNotices.value = [...modelNotices.value, { kind: "note", text: event.text }];
      return;
    case "text":
      return;
    default:
      onTrainingEvent(event);
  }
}

function onCrash(failure: Failure): void {
  trainingCrashed(failure);
  loadedAdapters.value = [];
  phase.value = { name: "crashed", failure };
}
