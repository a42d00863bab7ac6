/** Keeps the page's address and the settings the same, and takes in what a link or a run file asks for. */
import { effect } from "@preact/signals";
import {
  active,
  chosenData,
  chosenSet,
  dataSets,
  linked,
  linkedReading,
  linkedSet,
  linkNotes,
  memoryBudget,
  model as modelState,
  modelInfo,
  modelSource,
  settings,
  type Settings,
} from "../state";
import { BUILT_IN, loadModel } from "./boot";
import { chooseSet } from "./data";
import { allowMemory } from "./memory";
import { sharedName } from "./models";
import { applyExtras, extrasNow, resetExtras } from "./extras";
import { readRun } from "./run-file";
import { applySettings } from "./settings";
import { fromHash, toHash, type Arrival } from "./share";

/** Browsers refuse addresses that change too often. */
const SETTLE_MS = 300;

/** Reads the address of a page that has just been opened, before anything is loaded. */
export function arrive(): void {
  const arrival = fromHash(location.hash);
  if (!arrival) return;
  linked.value = { model: arrival.model, settings: arrival.settings };
  linkedSet.value = arrival.data;
  linkNotes.value = [...arrival.notes, ...applyExtras(arrival.extras ?? [])];
  settings.value = { ...settings.value, ...arrival.settings };
}

/** From now on the address follows the settings, and the settings an address that the user changes. */
export function followAddress(): void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  effect(() => {
    const hash = currentHash();
    clearTimeout(timer);
    if (hash !== undefined) timer = setTimeout(() => history.replaceState(history.state, "", hash), SETTLE_MS);
  });
  addEventListener("hashchange", () => {
    const arrival = fromHash(location.hash);
    if (!arrival) return;
    if (active.value) linkNotes.value = ["A run is going on: the settings in the address were not read."];
    else if (arrival.isUnread) linkNotes.value = arrival.notes;
    else void replaceBy(arrival);
  });
}

/** On a page that is in use, what an address leaves out is what a fresh page has. */
async function replaceBy({ model, data = "", settings: wanted, extras = [], notes }: Arrival): Promise<void> {
  resetExtras();
  const allNotes = [...notes, ...applyExtras(extras)];
  void allowMemory(memoryBudget.value);
  if (model === undefined) {
    linked.value = undefined;
    if (modelState.value.name !== "loading" && modelSource.value !== BUILT_IN) await loadModel(BUILT_IN);
  }
  await adopt(model, data, wanted, allNotes, true);
}

/** The address of the settings as they are; without a model there is none. */
export function currentHash(): string | undefined {
  const [source, info] = [modelSource.value, modelInfo.value];
  if (!source || !info) return undefined;
  const model = linked.value?.model ?? sharedName(source);
  const set = linkedSet.value ?? (chosenData.value === dataSets.value[0]?.id ? undefined : chosenSet.value?.id);
  const hash = toHash({ model, data: set, settings: settings.value, extras: extrasNow() }, info.target_modules);
  return /^#v=\d+$/.test(hash) ? location.pathname + location.search : hash;
}

/** Settings of a link or a run file, on a page that is in use. */
async function adopt(
  model: string | undefined,
  set: string | undefined,
  wanted: Partial<Settings>,
  notes: readonly string[],
  isWhole = false,
): Promise<void> {
  linkNotes.value = notes;
  const source = modelSource.value;
  if (model === undefined || (source && sharedName(source) === model)) {
    linkNotes.value = [...notes, ...applySettings(wanted, isWhole)];
  } else {
    linked.value = { model, settings: wanted, isWhole };
  }
  const id = set === "" ? dataSets.value[0]?.id : set;
  if (id === undefined || id === chosenData.value) return;
  if (dataSets.value.some((other) => other.id === id)) await chooseSet(id, isWhole);
  else linkNotes.value = [...linkNotes.value, `There is no built-in data set ${id.slice(0, 60)}.`];
}

/** Takes a run file from the user. */
export async function takeRunFile(file: File): Promise<void> {
  linkNotes.value = [];
  try {
    const { model, set, reading, settings: wanted, notes } = readRun(await file.text(), file.name);
    linkedReading.value = reading;
    if (model === "demo" && modelSource.value !== BUILT_IN) await loadModel(BUILT_IN);
    await adopt(model === "demo" ? undefined : model, set, wanted, notes);
  } catch (error) {
    linkNotes.value = [error instanceof Error ? error.message : String(error)];
  }
}

export function forgetLink(): void {
  linked.value = undefined;
  linkNotes.value = [];
}
