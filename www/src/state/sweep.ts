/** A sweep: runs that differ in the adapter's rank and targets, one after another. */
import { computed, signal } from "@preact/signals";

export interface TargetSet {
  id: string;
  title: string;
  target_modules: readonly string[];
}

/** What the settings' targets are called where they are none of the known sets. */
export const AS_SET = "as in the settings";

const QUERY_VALUE = ["q_proj", "v_proj"];
const ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"];

/** The sets of targets that people compare, of a model's modules; `chosen` are the settings', which always come first. */
export function targetSets(modules: readonly string[], chosen: readonly string[]): TargetSet[] {
  const key = ({ target_modules }: Pick<TargetSet, "target_modules">) => [...target_modules].sort().join();
  const known = new Map<string, TargetSet>();
  for (const set of [
    { id: "qv", title: "attention q, v", target_modules: QUERY_VALUE.filter((name) => modules.includes(name)) },
    { id: "attention", title: "attention", target_modules: ATTENTION.filter((name) => modules.includes(name)) },
    { id: "all", title: "all linear", target_modules: modules },
  ]) {
    // A model without some of the modules has fewer different sets.
    if (set.target_modules.length > 0 && !known.has(key(set))) known.set(key(set), set);
  }
  const same = known.get(key({ target_modules: chosen }));
  return [{ id: "chosen", title: same?.title ?? AS_SET, target_modules: chosen }, ...[...known.values()].filter((set) => set !== same)];
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
  status: "idle" | "running" | "ending" | "over";
  rows: readonly SweepRow[];
  /** What the data is called. */
  data: string;
  steps: number;
}

export const sweep = signal<Sweep>({ status: "idle", rows: [], data: "", steps: 0 });
/** The runs that begin and end are the sweep's. */
export const sweeping = computed(() => ["running", "ending"].includes(sweep.value.status));
