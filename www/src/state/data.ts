/** The chosen data. */
import { computed, signal } from "@preact/signals";
import type { DataFile, DataReport, FirstRows } from "postil";
import { settings, type Settings } from "./settings";

/** One entry of `demo/data/index.json`. */
export interface DataSet {
  id: string;
  title: string;
  description: string;
  train: string;
  eval?: string;
  prompts: string[];
  chat: boolean;
}

export interface LoadedFile {
  file: DataFile;
  report?: DataReport;
  error?: string;
  /** What the file calls its columns; of files from the user's disk. */
  columns?: readonly string[];
  rows?: FirstRows;
}

/** What of a drop was not taken. */
export const dropNotice = signal<string | undefined>(undefined);

export const OWN_FILES = "own";

export const dataSets = signal<DataSet[]>([]);
export const dataSetsError = signal<string | undefined>(undefined);
/** The chosen set's id, or `OWN_FILES`. */
export const chosenData = signal<string>(OWN_FILES);
export const trainFile = signal<LoadedFile | undefined>(undefined);
export const evalFile = signal<LoadedFile | undefined>(undefined);
export const chosenSet = computed(() => dataSets.value.find(({ id }) => id === chosenData.value));

/** The settings of a run that would start now: where there is held-out data, none of the training data is held out. */
export const runSettings = computed((): Settings => ({ ...settings.value, ...(evalFile.value ? { eval_split: 0 } : {}) }));
