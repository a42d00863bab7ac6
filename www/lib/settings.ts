/** The settings of an adapter and of its training, under Hugging Face's names (PEFT's LoraConfig, transformers' TrainingArguments, TRL's SFTConfig). */
import type { LoraOptions, RunOptions, TrainOptions } from "./engine";
import { ConfigError } from "./errors";

/** All settings in one. */
export type Settings = Required<LoraOptions> & Required<TrainOptions> & Required<Pick<RunOptions, "eval_split">>;

/** What a setting is where it is not given. */
export const DEFAULTS: Readonly<Settings> = {
  r: 16,
  lora_alpha: 32,
  lora_dropout: 0,
  target_modules: "all-linear",
  rank_pattern: {},
  alpha_pattern: {},
  max_steps: 100,
  learning_rate: 2e-4,
  per_device_train_batch_size: 8,
  gradient_accumulation_steps: 1,
  lr_scheduler_type: "cosine",
  warmup_steps: 5,
  max_length: 256,
  eval_steps: 20,
  seed: 42,
  packing: false,
  group_by_length: false,
  gradient_checkpointing: false,
  assistant_only_loss: true,
  eval_split: 0,
};

const LORA_NAMES = ["r", "lora_alpha", "lora_dropout", "target_modules", "rank_pattern", "alpha_pattern"] as const satisfies readonly (keyof LoraOptions)[];

const TRAIN_NAMES = (Object.keys(DEFAULTS) as (keyof Settings)[]).filter(
  (name): name is keyof TrainOptions => name !== "eval_split" && !(LORA_NAMES as readonly string[]).includes(name),
);

/** Throws `ConfigError` for a name that is none of a setting's and none of `others`: what is misspelt would do nothing. */
export function checkNames(given: object, others: readonly string[] = []): void {
  const unknown = Object.keys(given).filter((name) => !Object.hasOwn(DEFAULTS, name) && !others.includes(name));
  if (unknown.length > 0) throw new ConfigError(`There is no setting ${unknown.join(", ")}. Settings are ${Object.keys(DEFAULTS).join(", ")}.`);
}

/** The adapter's part, as the engine takes it. */
export const loraOptions = (settings: Partial<Settings>): LoraOptions => pick(settings, LORA_NAMES);

/** The training's part. */
export const trainOptions = (settings: Partial<Settings>): TrainOptions => pick(settings, TRAIN_NAMES);

function pick<Name extends keyof Settings>(settings: Partial<Settings>, names: readonly Name[]): Pick<Settings, Name> {
  const picked = names.map((name) => [name, settings[name] ?? DEFAULTS[name]]);
  return Object.fromEntries(picked) as Pick<Settings, Name>;
}
