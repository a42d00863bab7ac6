/** The adapter's and the training's settings. */
import { signal } from "@preact/signals";
import type { AdapterFiles, MemoryReport, ParameterCount } from "postil-engine";

export interface Settings {
  r: number;
  lora_alpha: number;
  lora_dropout: number;
  target_modules: string[];
  /** Ranks and alphas of modules that differ from `r` and `lora_alpha`; keys as PEFT's. */
  rank_pattern: Record<string, number>;
  alpha_pattern: Record<string, number>;
  max_steps: number;
  learning_rate: number;
  per_device_train_batch_size: number;
  gradient_accumulation_steps: number;
  lr_scheduler_type: string;
  warmup_steps: number;
  max_length: number;
  eval_steps: number;
  seed: number;
  packing: boolean;
  group_by_length: boolean;
  gradient_checkpointing: boolean;
  assistant_only_loss: boolean;
}

export const DEFAULTS: Readonly<Settings> = {
  r: 16,
  lora_alpha: 32,
  lora_dropout: 0,
  // All there are, once there is a model.
  target_modules: [],
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
};

export const settings = signal<Settings>(DEFAULTS);

export type CountState = { count?: ParameterCount; error?: string };
export const parameterCount = signal<CountState>({});

/** What the run would take of the GPU's memory; empty while that is not known. */
export const memoryPlan = signal<{ report?: MemoryReport; error?: string }>({});
/** GiB of it that the user allows; nothing: what the engine thinks that there is. */
export const memoryBudget = signal<number | undefined>(undefined);

/** What may be taken, and where that number comes from; known as soon as there is an engine. */
export const memoryLimit = signal<MemoryReport["budget"] | undefined>(undefined);

/** An adapter the user brought, to start from and to compare with. */
export interface InitAdapter {
  name: string;
  files: AdapterFiles;
}

export const initAdapter = signal<InitAdapter | undefined>(undefined);
export const initAdapterError = signal<string | undefined>(undefined);
