/** The adapter's and the training's settings. */
import { signal } from "@preact/signals";
import { DEFAULTS as ALL_DEFAULTS, type AdapterFiles, type MemoryReport, type ParameterCount, type Settings as AllSettings } from "postil";

/** The package's, with the target modules by their names. */
export interface Settings extends Omit<AllSettings, "target_modules"> {
  target_modules: string[];
}

export const DEFAULTS: Readonly<Settings> = {
  ...ALL_DEFAULTS,
  // All there are, once there is a model.
  target_modules: [],
};

export const settings = signal<Settings>(DEFAULTS);

export type CountState = { count?: ParameterCount; error?: string };
export const parameterCount = signal<CountState>({});

/** What the run would take of the GPU's memory; empty while that is not known. */
export const memoryPlan = signal<{ report?: MemoryReport; error?: string }>({});
/** GiB of it that the user allows; nothing: what the engine thinks that there is. */
export const memoryBudget = signal<number | undefined>(undefined);

/** What may be taken, and where that number comes from; known as soon as there is an engine. */
export const memoryLimit = signal<MemoryReport["budget"] | undefined>(undefined);

/** An adapter the user brought, to start from and to compare with. */
export interface InitAdapter {
  name: string;
  files: AdapterFiles;
}

export const initAdapter = signal<InitAdapter | undefined>(undefined);
export const initAdapterError = signal<string | undefined>(undefined);
