/** The adapter's and the run's settings, and what follows from them. */
import { DEFAULTS, initAdapter, initAdapterError, modelInfo, parameterCount, settings, type Settings } from "../state";
import { tuner } from "./engine";
import { inspectData } from "./data";
import { LORA_NAMES, readLoraConfig } from "./adapter";
import { loadBrought } from "./adapters";

/** Long enough not to count or plan while a number is being typed. */
const SETTLE_MS = 200;

const timers = new Map<() => Promise<void>, ReturnType<typeof setTimeout>>();

export function settle(act: () => Promise<void>): void {
  clearTimeout(timers.get(act));
  timers.set(
    act,
    setTimeout(() => void act(), SETTLE_MS),
  );
}

/** Alpha is twice the rank until the user has written one. */
let alphaIsChosen = false;

export function chooseAlpha(lora_alpha: number): void {
  alphaIsChosen = true;
  changeSettings({ lora_alpha });
}

export function changeSettings(change: Partial<Settings>): void {
  const follows = change.r !== undefined && change.r >= 1 && change.lora_alpha === undefined && !alphaIsChosen;
  settings.value = { ...settings.value, ...(follows ? { lora_alpha: 2 * change.r! } : {}), ...change };
  if (LORA_NAMES.some((name) => name in change)) settle(countParameters);
  const isRead = "max_length" in change || "assistant_only_loss" in change;
  if (isRead && settings.value.max_length >= 2) settle(inspectData);
}

/**
 * Settings from an address, a run file, a kept run or an adapter. What they ask for that the model does not have is left out, and
 * named in what is given back; so is what the adapter that training starts from decides. Of `isWhole` ones those that are absent
 * become the defaults.
 */
export function applySettings(change: Partial<Settings>, isWhole = false): string[] {
  const notes: string[] = [];
  const next = { ...(isWhole ? DEFAULTS : settings.value), ...change };
  const adapter = initAdapter.value;
  const own = adapter && readLoraConfig(adapter.files.config, modelInfo.value?.target_modules ?? []);
  if (own && LORA_NAMES.some((name) => name in change && JSON.stringify(change[name]) !== JSON.stringify(own[name]))) {
    notes.push(`Training starts from ${adapter.name}, whose rank, alpha, dropout and modules stay.`);
  }
  Object.assign(next, own);
  const info = modelInfo.value;
  if (info) {
    const { target_modules: modules, max_position_embeddings: context } = info;
    const missing = next.target_modules.filter((name) => !modules.includes(name));
    if (missing.length > 0 && !own) notes.push(`This model has no ${missing.join(", ")}: left out of the target modules.`);
    next.target_modules = next.target_modules.filter((name) => modules.includes(name));
    if (next.target_modules.length === 0) next.target_modules = modules;
    if (next.max_length > context) {
      if (!isWhole || change.max_length !== undefined) {
        notes.push(`The maximum length was ${next.max_length}; this model’s context is ${context} tokens.`);
      }
      next.max_length = context;
    }
  }
  alphaIsChosen = next.lora_alpha !== 2 * next.r;
  changeSettings(next);
  return notes;
}

export async function countParameters(): Promise<void> {
  if (!modelInfo.value) return;
  const { r, lora_alpha, lora_dropout, target_modules } = settings.value;
  if (target_modules.length === 0) {
    parameterCount.value = { error: "Choose at least one module to put the adapter on." };
    return;
  }
  if (!Number.isInteger(r) || r < 1) {
    parameterCount.value = { error: "The rank is a whole number, 1 or more." };
    return;
  }
  if (!(lora_alpha >= 0)) {
    parameterCount.value = { error: "Alpha is a number, 0 or more." };
    return;
  }
  if (!(lora_dropout >= 0 && lora_dropout < 1)) {
    parameterCount.value = { error: "Dropout is a number, 0 or more and less than 1." };
    return;
  }
  try {
    parameterCount.value = { count: await tuner().countParameters(settings.value) };
  } catch (error) {
    parameterCount.value = { error: error instanceof Error ? error.message : String(error) };
  }
}

/** Takes an adapter from the user: the two PEFT files, or one zip with both. The engine checks that it fits the model. */
export async function takeAdapter(files: File[]): Promise<void> {
  initAdapterError.value = undefined;
  initAdapter.value = undefined;
  try {
    const adapter = await loadBrought(files);
    initAdapter.value = adapter;
    applySettings({});
  } catch (error) {
    initAdapterError.value = error instanceof Error ? error.message : String(error);
  }
}

export function dropAdapter(): void {
  initAdapter.value = undefined;
  initAdapterError.value = undefined;
}
