/** A sweep: runs that differ in the adapter's rank and targets, one after another. */
import { computed, signal } from "@preact/signals";
import { targetSets, type TargetSet } from "./targets";

/** What the settings' targets are called where they are none of the known sets. */
export const AS_SET = "as in the settings";

/** The sets of targets that a sweep can compare; the settings', `chosen`, come first. */
export function sweepSets(modules: readonly string[], chosen: readonly string[]): TargetSet[] {
  const key = ({ target_modules }: Pick<TargetSet, "target_modules">) => [...target_modules].sort().join();
  // A model without some of the modules has fewer different sets.
  const known = new Map(targetSets(modules).map((set) => [key(set), set]).reverse() as [string, TargetSet][]);
  const same = known.get(key({ target_modules: chosen }));
  const others = [...known.values()].reverse().filter((set) => set !== same);
  return [{ id: "chosen", title: same?.title ?? AS_SET, target_modules: chosen }, ...others];
}

export const RANKS = [1, 2, 4, 8, 16, 32, 64, 128, 256] as const;

export interface SweepPlan {
  ranks: readonly number[];
  /** Ids of target sets. */
  targets: readonly string[];
  /** Twice the rank, or this alpha for every rank. */
  alpha: "twice" | number;
}

export const sweepPlan = signal<SweepPlan>({ ranks: [4, 8, 16, 32], targets: ["chosen"], alpha: "twice" });

export interface SweepRow {
  r: number;
  lora_alpha: number;
  targets: TargetSet;
  status: "waiting" | "running" | "done" | "stopped" | "failed" | "left out";
  trainable?: number;
  /** The lowest after the first step. */
  evalLoss?: number;
  bestStep?: number;
  seconds?: number;
  error?: string;
}

export interface Sweep {
  /** It was made on an earlier visit: what it left is among the kept runs. */
  isOld?: boolean;
  status: "idle" | "running" | "ending" | "over";
  rows: readonly SweepRow[];
  /** What the data is called. */
  data: string;
  steps: number;
}

export const sweep = signal<Sweep>({ status: "idle", rows: [], data: "", steps: 0 });
/** The runs that begin and end are the sweep's. */
export const sweeping = computed(() => ["running", "ending"].includes(sweep.value.status));
