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

/** The settings of a run that would start now: a share is held out of the user's own data, where there is no file for that. */
export const runSettings = computed((): Settings => {
  const isSplit = chosenData.value === OWN_FILES && !evalFile.value;
  return isSplit ? settings.value : { ...settings.value, eval_split: 0 };
});
