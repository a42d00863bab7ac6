/** The runs of this browser, as `session/history.ts` keeps them in IndexedDB. */
import { computed, signal } from "@preact/signals";
import type { ModelInfo, ModelSource, SampleOptions, StepReport } from "postil";
import type { Evaluation, Sample } from "./run";
import type { Settings } from "./settings";

/** Where a model can be had again: anything but files that the user chose. Without a token. */
export type LastingSource = Exclude<ModelSource, { texts: unknown }>;

/** Every file of a run is kept in one of these sets. */
export type FileSet = "checkpoint" | "best" | "data";

/** A data file but for its bytes, which are in the set `data`. */
export interface KeptData {
  name: string;
  format?: string;
  columns?: Record<string, string>;
}

/** What only other programs have to be told of a run. */
export interface Told {
  /** What the engine found the training records to be. */
  records?: string;
  /** Columns that it knew by their names. */
  known: Partial<Record<"train" | "evaluation", Record<string, string>>>;
  /** The model is one file, of the user's disk. */
  isGguf: boolean;
  /** The adapter that it started from, by its file's name. */
  initAdapter?: string;
}

/**
 * `training` and `paused` of a run that no tab has are written as `interrupted` when they are found.
 */
export type KeptStatus = "training" | "paused" | "finished" | "stopped" | "failed" | "interrupted";

export interface KeptRun {
  id: string;
  title: string;
  /** Milliseconds since 1970. */
  created: number;
  model: { info: ModelInfo; source?: LastingSource };
  data: { title: string; set?: string; train: KeptData; evaluation?: KeptData };
  /** What the run ran on. */
  device: string;
  settings: Settings;
  /** Absent of runs that an older page has kept. */
  told?: Told;
  status: KeptStatus;
  error?: string;
  errorKind?: string;
  /** The engine ended with it: nothing is wrong with the run itself. */
  isFatal?: boolean;
  total_steps: number;
  examples: number;
  warnings: readonly string[];
  /** The curves. */
  steps: readonly StepReport[];
  evaluations: readonly Evaluation[];
  sampling?: SampleOptions;
  samples: readonly Sample[];
  best?: Evaluation;
  seconds: number;
  secondsHidden: number;
  /** The step of the checkpoint that is kept with the run; absent while there is none. */
  checkpoint?: number;
  /** What each set of files takes. */
  bytes: Partial<Record<FileSet, number>>;
}

/** Newest first. */
export const runs = signal<readonly KeptRun[]>([]);
/** Those that another tab has. */
export const elsewhere = signal<ReadonlySet<string>>(new Set());
/** Those whose curves are drawn beside the run's own, by their ids. */
export const overlaid = signal<readonly string[]>([]);
/** Why runs are not kept; said once. */
export const storageProblem = signal<string | undefined>(undefined);
/** What the page takes of what the browser grants, in bytes. */
export const storageUse = signal<{ usage: number; quota: number } | undefined>(undefined);
/** What went wrong with the last thing done to a run. */
export const runsError = signal<string | undefined>(undefined);
/** The run to offer on arrival: the newest one if it was interrupted or the engine ended under it, until it is resumed or put aside. */
export const offered = signal<string | undefined>(undefined);

export const find = (id: string): KeptRun | undefined => runs.value.find((kept) => kept.id === id);

/** The same model as far as it shows; the engine compares the rest. */
export function isOf(info: ModelInfo, { info: wanted, source }: KeptRun["model"]): boolean {
  // Files of one model have other names when they are chosen in another way.
  const shape = ({ name, ...rest }: ModelInfo) => JSON.stringify(Object.entries({ ...rest, ...(source ? { name } : {}) }).sort());
  return shape(info) === shape(wanted);
}

export const keptBytes = computed(() => runs.value.reduce((sum, kept) => sum + bytesOf(kept), 0));

export function bytesOf({ bytes }: KeptRun): number {
  return Object.values(bytes).reduce((sum, size) => sum + size, 0);
}
