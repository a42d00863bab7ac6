/** The run that the engine has, or had last. Its history is in IndexedDB: see `session/store.ts`. */
import { computed, signal } from "@preact/signals";
import type { AdapterFiles, StartReport, StepReport } from "postil-engine";

export interface Evaluation {
  step: number;
  loss: number;
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
  start?: StartReport;
  last?: StepReport;
  bestEvalLoss?: number;
  bestStep?: number;
  secondsLeft?: number;
  /** How long the steps so far have taken. */
  seconds?: number;
  error?: string;
}

export const run = signal<Run>({ status: "idle" });
/** Every step's report so far; replaced, never changed in place. */
export const steps = signal<readonly StepReport[]>([]);
export const evaluations = signal<readonly Evaluation[]>([]);
/** A run has the engine: settings cannot change. */
export const active = computed(() => ["preparing", "training", "pausing", "paused", "stopping"].includes(run.value.status));
/** Steps are being made. */
export const stepping = computed(() => active.value && run.value.status !== "paused");

/** The newest copy of the adapter on the page. */
export interface SavedAdapter {
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
/** What an earlier visit left in this browser. */
export interface KeptAdapter extends SavedAdapter {
  /** Milliseconds since 1970. */
  date: number;
}

export const keptAdapter = signal<KeptAdapter | undefined>(undefined);
