/** The run that the engine has, or had last. The runs that are kept are in `state/runs.ts`. */
import { computed, signal } from "@preact/signals";
import type { AdapterFiles, Compiling, ModelInfo, ModelSource, StartReport, StepReport } from "postil";

export interface Evaluation {
  step: number;
  loss: number;
}

/** What the model with the adapter made of each of a run's sample prompts after so many steps. */
export interface Sample {
  step: number;
  texts: readonly string[];
}

export type RunStatus =
  | "idle"
  | "preparing"
  | "training"
  | "pausing"
  | "paused"
  | "stopping"
  | "finished"
  | "stopped"
  | "failed";

export interface Run {
  /** Also the engine's id of the run's adapter; absent while there has been no run. */
  id?: string;
  status: RunStatus;
  /** What its data is called. */
  data?: string;
  /** Shaders are being compiled for the GPU, and nothing goes on before they are. */
  compiling?: Compiling;
  start?: StartReport;
  last?: StepReport;
  bestEvalLoss?: number;
  bestStep?: number;
  secondsLeft?: number;
  /** How long the steps so far have taken. */
  seconds?: number;
  /** How much of that the tab was hidden. */
  secondsHidden?: number;
  error?: string;
  /** The engine's kind of that error. */
  errorKind?: string;
}

export const run = signal<Run>({ status: "idle" });
/** Every step's report so far; replaced, never changed in place. */
export const steps = signal<readonly StepReport[]>([]);
export const evaluations = signal<readonly Evaluation[]>([]);
export const samplePrompts = signal<readonly string[]>([]);
export const samples = signal<readonly Sample[]>([]);
/** A run has the engine: settings cannot change. */
export const active = computed(() => ["preparing", "training", "pausing", "paused", "stopping"].includes(run.value.status));
/** Steps are being made. */
export const stepping = computed(() => active.value && run.value.status !== "paused");
/** The browser has promised to leave the screen on. */
export const screenAwake = signal(false);

/** The newest copy of the adapter on the page. */
export interface SavedAdapter {
  /** The id of the run it comes from. */
  run: string;
  /** What it was trained on. */
  model: { info: ModelInfo; source?: ModelSource };
  files: AdapterFiles;
  step: number;
  /** The run it comes from reached its end or was stopped. */
  complete: boolean;
  /** What the data is called that it was trained on. */
  data: string;
}

export const savedAdapter = signal<SavedAdapter | undefined>(undefined);
/** The copy with the lowest held-out loss of the run. */
export const bestAdapter = signal<(SavedAdapter & { loss: number }) | undefined>(undefined);

/** Texts to be written while a run goes on. */
export interface SampleSettings {
  /** Steps from one to the next; 0: none. */
  every: number;
  /** Instead of the data set's own prompts; those without a text do not count. */
  prompts: readonly string[];
  max_new_tokens: number;
}

export const sampleSettings = signal<SampleSettings>({ every: 25, prompts: [], max_new_tokens: 32 });
