/** Settings from outside: an address or a run file. Values that cannot be used are left out, and named. */
import type { Settings } from "../state";

interface Check {
  expected: string;
  accepts: (value: unknown) => boolean;
}

const whole = (least: number, most = 2 ** 31): Check => ({
  expected: `a whole number from ${least} to ${most}`,
  accepts: (value) => Number.isInteger(value) && (value as number) >= least && (value as number) <= most,
});

const number = (most: number): Check => ({
  expected: `a number from 0 to ${most}`,
  accepts: (value) => typeof value === "number" && value >= 0 && value <= most,
});

const either: Check = { expected: "true or false", accepts: (value) => typeof value === "boolean" };

/** As the engine takes at most. */
export const MAX_RANK = 4096;
const MAX_ALPHA = 1e6;
const MAX_PATTERNS = 1000;
const MODULE = /^[A-Za-z0-9_.]{1,100}$/;

const pattern = (value: Check): Check => ({
  expected: `an object with keys for modules and values that are each ${value.expected}`,
  accepts: (object) =>
    typeof object === "object" &&
    object !== null &&
    !Array.isArray(object) &&
    Object.keys(object).length <= MAX_PATTERNS &&
    Object.entries(object).every(([key, item]) => key !== "" && key.length <= 10_000 && value.accepts(item)),
});

const CHECKS: { [Name in keyof Settings]: Check } = {
  r: whole(1, MAX_RANK),
  lora_alpha: number(MAX_ALPHA),
  lora_dropout: number(0.99),
  target_modules: {
    expected: "a list of modules’ names",
    accepts: (value) =>
      Array.isArray(value) &&
      value.length <= 100 &&
      value.every((name) => typeof name === "string" && MODULE.test(name)),
  },
  rank_pattern: pattern(whole(1, MAX_RANK)),
  alpha_pattern: pattern(number(MAX_ALPHA)),
  max_steps: whole(1),
  learning_rate: number(1e3),
  per_device_train_batch_size: whole(1, 2 ** 20),
  gradient_accumulation_steps: whole(1, 2 ** 20),
  lr_scheduler_type: {
    expected: "cosine, linear or constant",
    accepts: (value) => ["cosine", "linear", "constant"].includes(value as string),
  },
  warmup_steps: whole(0),
  max_length: whole(2, 2 ** 24),
  eval_steps: whole(1),
  seed: whole(0, Number.MAX_SAFE_INTEGER),
  packing: either,
  group_by_length: either,
  gradient_checkpointing: either,
  assistant_only_loss: either,
  eval_split: number(0.99),
};

export const SETTING_NAMES = Object.keys(CHECKS) as (keyof Settings)[];

export const isSetting = (name: string): name is keyof Settings => Object.hasOwn(CHECKS, name);

/** Long texts from outside are not repeated whole. */
export const cut = (text: string, most = 60): string => (text.length > most ? `${text.slice(0, most)}…` : text);

/** Puts `value` into `found`, or what is wrong with it into `notes`. */
export function take(found: Partial<Settings>, notes: string[], name: keyof Settings, value: unknown): void {
  const { expected, accepts } = CHECKS[name];
  if (accepts(value)) Object.assign(found, { [name]: value });
  else notes.push(`${name} ${cut(JSON.stringify(value) ?? "")} was left out: it must be ${expected}.`);
}
