/**
 * Settings beside the run's: of its samples, of Compare, of a sweep, and the memory budget. They are in the page's address
 * too, but in no run file: what an adapter becomes does not depend on them.
 */
import { adapterScale, chatWish, memoryBudget, RANKS, sampleSettings, sampling, sweepPlan, type Sampling } from "../state";

interface Extra {
  expected: string;
  /** Absent where it is what the page begins with. */
  now(): string | undefined;
  /** Takes it over, unless it cannot be used. */
  take(text: string): boolean;
  /** Makes it what the page begins with. */
  reset(): void;
}

const unless = <Value>(value: Value, first: Value, text = String(value)) =>
  value === first || Number.isNaN(value) ? undefined : text;

/** A number from `least` to `most`, whole ones if they are counted. */
function number(
  [least, most, isCounted]: readonly [number, number, boolean],
  read: () => number,
  write: (value: number) => void,
): Extra {
  const first = read();
  return {
    expected: `a ${isCounted ? "whole " : ""}number from ${least} to ${most}`,
    now: () => unless(read(), first),
    take(text) {
      const value = Number(text);
      if (text.trim() === "" || !(value >= least && value <= most) || (isCounted && !Number.isInteger(value))) return false;
      write(value);
      return true;
    },
    reset: () => write(first),
  };
}

const MOST = 2 ** 31;

const ofSampling = (name: keyof Sampling, range: readonly [number, number, boolean]): Extra =>
  number(
    range,
    () => sampling.value[name],
    (value) => (sampling.value = { ...sampling.value, [name]: value }),
  );

const ofSamples = (name: "every" | "max_new_tokens", least: number): Extra =>
  number(
    [least, MOST, true],
    () => sampleSettings.value[name],
    (value) => (sampleSettings.value = { ...sampleSettings.value, [name]: value }),
  );

const FIRST_PLAN = sweepPlan.peek();

const resetPlan = (name: keyof typeof FIRST_PLAN) => (sweepPlan.value = { ...sweepPlan.value, [name]: FIRST_PLAN[name] });

/** By the names that the address has. */
export const EXTRAS: Readonly<Record<string, Extra>> = {
  sample_every: ofSamples("every", 0),
  sample_tokens: ofSamples("max_new_tokens", 1),
  temperature: ofSampling("temperature", [0, 5, false]),
  top_k: ofSampling("top_k", [0, MOST, true]),
  top_p: ofSampling("top_p", [0.01, 1, false]),
  max_new_tokens: ofSampling("max_new_tokens", [1, MOST, true]),
  generation_seed: ofSampling("seed", [0, Number.MAX_SAFE_INTEGER, true]),
  adapter_scale: number(
    [0, 1.5, false],
    () => adapterScale.value,
    (value) => (adapterScale.value = value),
  ),
  chat: {
    expected: "true or false",
    now: () => unless(chatWish.value, undefined),
    take(text) {
      if (text !== "true" && text !== "false") return false;
      chatWish.value = text === "true";
      return true;
    },
    reset: () => (chatWish.value = undefined),
  },
  sweep_ranks: {
    expected: `some of ${RANKS.join(", ")}`,
    now: () => unless(sweepPlan.value.ranks.join(","), FIRST_PLAN.ranks.join(",")),
    take(text) {
      const ranks = RANKS.filter((r) => text.split(",").includes(String(r)));
      if (ranks.length !== text.split(",").length) return false;
      sweepPlan.value = { ...sweepPlan.value, ranks };
      return true;
    },
    reset: () => resetPlan("ranks"),
  },
  sweep_targets: {
    expected: "some of chosen, qv, attention, all",
    now: () => unless(sweepPlan.value.targets.join(","), FIRST_PLAN.targets.join(",")),
    take(text) {
      const targets = [...new Set(text.split(","))];
      if (!targets.every((id) => ["chosen", "qv", "attention", "all"].includes(id))) return false;
      sweepPlan.value = { ...sweepPlan.value, targets };
      return true;
    },
    reset: () => resetPlan("targets"),
  },
  sweep_alpha: {
    expected: "a number, 0 or more",
    now: () => unless(sweepPlan.value.alpha, FIRST_PLAN.alpha),
    take(text) {
      const alpha = Number(text);
      if (text.trim() === "" || !(alpha >= 0 && alpha <= 1e6)) return false;
      sweepPlan.value = { ...sweepPlan.value, alpha };
      return true;
    },
    reset: () => resetPlan("alpha"),
  },
  memory_gib: {
    expected: "a number of GiB above 0",
    now: () => unless(memoryBudget.value, undefined),
    take(text) {
      const gib = Number(text);
      if (!(gib > 0 && gib <= 1024)) return false;
      memoryBudget.value = gib;
      return true;
    },
    reset: () => (memoryBudget.value = undefined),
  },
};

/** Those that are not as the page begins. */
export function extrasNow(): [string, string][] {
  return Object.entries(EXTRAS).flatMap(([name, { now }]) => {
    const text = now();
    return text === undefined || text === "" ? [] : [[name, text] as [string, string]];
  });
}

/** What the page begins with, again. */
export function resetExtras(): void {
  Object.values(EXTRAS).forEach((extra) => extra.reset());
}

/** Takes over what an address says; what cannot be used is named in what is given back. */
export function applyExtras(extras: readonly (readonly [string, string])[]): string[] {
  return extras.flatMap(([name, text]) => {
    const extra = EXTRAS[name];
    return !extra || extra.take(text) ? [] : [`${name} ${text.slice(0, 60)} was left out: it must be ${extra.expected}.`];
  });
}
