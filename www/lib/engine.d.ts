/** The WebAssembly module (`src/web.rs`), as the worker sees it. Every error thrown carries `kind` and a complete message. */
export default function init(options?: { module_or_path?: URL | string }): Promise<{ memory: WebAssembly.Memory }>;

/** Reads a data file to its end; traps on some that are damaged. */
export function check_data(file: DataFile): void;

export interface DeviceInfo {
  name: string;
  /** `BrowserWebGpu` in a browser. */
  backend: string;
  /** `DiscreteGpu`, `IntegratedGpu`, `Cpu`, `Other`… */
  device_type: string;
  features: string[];
  max_buffer_size: number;
}

/** A file that code of the page's reads; several reads may be under way. */
export interface RemoteFile {
  size: number;
  /** Exactly `length` bytes from `offset` on. */
  read(offset: number, length: number): Promise<Uint8Array>;
}

export interface NamedFile {
  name: string;
  blob: Blob | RemoteFile;
}

/** A single `.gguf` file needs none of the others. */
export interface ModelFiles {
  name: string;
  /** Of the model on the Hub, where it is not `main`: written to the adapter. */
  revision?: string;
  config?: Uint8Array;
  weights: NamedFile[];
  /** `model.safetensors.index.json`, for weights in several files. */
  weights_index?: Uint8Array;
  tokenizer?: Uint8Array;
  tokenizer_config?: Uint8Array;
  special_tokens_map?: Uint8Array;
  generation_config?: Uint8Array;
  chat_template?: string;
}

export interface ModelInfo {
  name: string;
  parameters: number;
  num_hidden_layers: number;
  hidden_size: number;
  vocab_size: number;
  max_position_embeddings: number;
  has_chat_template: boolean;
  /** Names of the linear layers an adapter can be put on. */
  target_modules: string[];
  /** Formats that its adapters, or the model with one of them merged into it, cannot be written in, and why. */
  refused_formats: { gguf?: string; merged?: string };
}

export interface PreviewPiece {
  text: string;
  trained: boolean;
}

/** Rows that were left out; reasons of the first thousand. `line` counts lines, rows or items: see `unit`. */
export interface Rejected {
  count: number;
  first: { line: number; reason: string }[];
}

export interface DataReport {
  /** "JSON Lines", "JSON", "CSV", "TSV", "Parquet", "plain text". */
  file_format: string;
  /** "messages", "ShareGPT", "prompt/completion", "Alpaca", "text". */
  format: string;
  /** By field: columns that are read as it under another name, mapped or known to be so. */
  columns: Record<string, string>;
  /** What `skipped` and `refused` number: "line", "row", "item" or "part". */
  unit: string;
  records: number;
  skipped: Rejected;
  /** Refused by the model's chat template. */
  refused: Rejected;
  examples: number;
  /** The most tokens of an example: `max_length`, or the model's context. */
  limit: number;
  truncated: number;
  without_targets: number;
  /** How many of `without_targets` lost their targets to the length limit. */
  cut_away: number;
  /** Examples equal to one before them. */
  duplicates: number;
  target_tokens: number;
  total_tokens: number;
  /** Tokens per record, before cutting: percentiles by nearest rank. */
  lengths: Record<"min" | "p5" | "p25" | "p50" | "p75" | "p95" | "p99" | "max" | "mean", number>;
  /** At most 16 bars of equal width over the same lengths; `to` is inclusive. */
  histogram: { from: number; to: number; examples: number }[];
  /** What packing into rows of `max_length` tokens would give; `efficiency` is the share of their room in use. */
  packing: { rows: number; max_length: number; efficiency: number };
  warnings: string[];
  preview: PreviewPiece[][];
}

export interface ModuleCount {
  name: string;
  count: number;
  in_features: number;
  out_features: number;
  r: number;
  parameters: number;
}

export interface ParameterCount {
  trainable: number;
  total: number;
  percent: number;
  modules: ModuleCount[];
  warnings: string[];
}

export interface LoraOptions {
  r: number;
  lora_alpha: number;
  lora_dropout?: number;
  target_modules: string[] | string;
  /** Ranks of modules that differ from `r`, by PEFT's keys: the end of a module's name, or a regular expression for it. */
  rank_pattern?: Record<string, number>;
  /** Alphas of modules that differ from `lora_alpha`, likewise. */
  alpha_pattern?: Record<string, number>;
}

export interface TrainOptions {
  max_steps: number;
  per_device_train_batch_size: number;
  gradient_accumulation_steps: number;
  learning_rate: number;
  lr_scheduler_type: string;
  warmup_steps: number;
  max_length: number;
  seed: number;
  eval_steps: number;
  /** Compute activations again in the backward pass: less memory, more time, the same results. */
  gradient_checkpointing?: boolean;
  packing?: boolean;
  group_by_length?: boolean;
  assistant_only_loss?: boolean;
}

export interface AdapterFiles {
  /** `adapter_config.json` */
  config: Uint8Array;
  /** `adapter_model.safetensors` */
  model: Uint8Array;
}

/** As mlx-lm has them. */
export interface MlxFiles {
  /** `adapter_config.json` */
  config: Uint8Array;
  /** `adapters.safetensors` */
  adapters: Uint8Array;
}

/** What weights a merged model has. */
export interface MergedFiles {
  weights: { name: string; bytes: number }[];
  /** `model.safetensors.index.json`, for weights in several files. */
  index?: Uint8Array;
}

/** How a merged model compares with the base and the adapter; or why there was no comparison. */
export type MergeCheck =
  | {
      /** The largest difference between the logits. */
      max_difference: number;
      /** The most that the rounding of the merged weights explains. */
      allowed: number;
      /** The largest difference that the adapter makes to the base's logits. */
      effect: number;
      /** What the weights are rounded to: "float32", "float16" or "bfloat16". */
      dtype: string;
    }
  | { reason: string };

/** By name: adapter_config.json, adapter_model.safetensors, optimizer.safetensors, trainer_state.json. */
export type CheckpointFiles = Record<string, Uint8Array>;

export interface Checkpoint {
  step: number;
  files: CheckpointFiles;
}

export interface AdapterInfo {
  r: number;
  lora_alpha: number;
  /** Names of the modules that it is on. */
  target_modules: string[];
  parameters: number;
}

/** Bytes on the GPU by the program's own count. */
export interface MemoryUse {
  allocated: number;
  /** The most that there was since the engine was made. */
  peak: number;
}

export interface RunOptions {
  /** The id of the run's adapter; replaces one of that id. */
  adapter: string;
  /** Not used with `init_adapter` or `checkpoint`, which bring their own. */
  lora: LoraOptions;
  train: TrainOptions;
  /** Without data to evaluate on: this share of the training examples, drawn by the seed, is held out for that; above 0, below 1. */
  eval_split?: number;
  /** Start from this adapter instead of a new one. Not used with `checkpoint`. */
  init_adapter?: AdapterFiles;
  /** Go on from there: the same settings, data and model as the checkpoint's run, or `start` says what differs. */
  checkpoint?: CheckpointFiles;
  /**
   * With `checkpoint`: `max_steps` may be larger than the checkpoint's. From there on the learning rate is the one that
   * a run of the new total has at that step, as transformers does it: a run that had decayed to 0 rises again.
   */
  extend?: boolean;
}

/** What a run, or a model's weights, take in GPU memory, in bytes. */
export interface MemoryReport {
  items: {
    purpose: "weights" | "adapter" | "gradients" | "moments" | "activations" | "workspace";
    bytes: number;
  }[];
  total: number;
  /** The most at any time. */
  peak: number;
  /** `source` is "given" or says what the number is a guess by. */
  budget: { bytes: number; source: string };
  fits: boolean;
  /** Empty if it fits. */
  proposals: {
    /** The settings that differ. */
    changes: {
      gradient_checkpointing?: boolean;
      per_device_train_batch_size?: number;
      gradient_accumulation_steps?: number;
      max_length?: number;
    };
    peak: number;
    fits: boolean;
  }[];
  /** The proposal that is enough and costs least. */
  choice: number | null;
}

export interface DataFile {
  name: string;
  /** JSON Lines, JSON, CSV, TSV, Parquet or plain text. */
  data: Uint8Array;
  /** Not to be detected: jsonl, json, csv, tsv, parquet or txt; messages, sharegpt, prompt-completion, alpaca or text; or both as in "csv,text". */
  format?: string;
  /** Columns with other names: field (text, prompt, completion, instruction, input, output, messages, conversations, system) to column. */
  columns?: Record<string, string>;
}

export interface FirstRows {
  columns: string[];
  /** A cell for each column: texts as they are, other values as JSON, nothing where there is none. */
  rows: string[][];
}

export interface StartReport {
  /** Steps done already: 0 for a new run. */
  step: number;
  total_steps: number;
  examples: number;
  eval_examples: number;
  warnings: string[];
  /** Held-out loss before the first step. With a checkpoint only if that was taken before its step was evaluated. */
  eval_loss?: number;
}

export interface StepReport {
  step: number;
  total_steps: number;
  loss: number;
  lr: number;
  grad_norm: number;
  tokens: number;
  tokens_per_second: number;
  eval_loss?: number;
  /** `eval_loss` is the lowest of the run so far. */
  improved: boolean;
  done: boolean;
  /** As `MemoryUse.allocated`. */
  memory: number;
}

export interface FinishReport {
  /** The step that the adapter is of. */
  step: number;
  best_eval_loss?: number;
  best_step?: number;
}

export interface GenerateOptions {
  max_new_tokens: number;
  temperature: number;
  top_k: number;
  top_p: number;
  seed: number;
  /** An adapter's id, or the base alone. */
  adapter: string | null;
  /** A factor on the adapter's alpha/r: 1 (the default) as trained, 0 gives the base's text bit for bit, 1.5 is 150 %. */
  adapter_scale?: number;
  /** Put a prompt that is text through the model's chat template, as a user's message. */
  chat: boolean;
}

export interface Message {
  /** "system", "user", "assistant", or what else the model's template knows. */
  role: string;
  content: string;
}

/** A text, or a conversation for the model's chat template. */
export type Prompt = string | readonly Message[];

export interface GenerateReport {
  text: string;
  tokens: number;
  prompt_tokens: number;
  tokens_per_second: number;
  stopped: "eos" | "length" | "caller";
}

/**
 * One GPU, one base, any number of adapters by id, and at most one run. The run's adapter is one of them, under the id
 * that `start` was given. Loading, dropping or generating with adapters never disturbs a run that is paused or between
 * two steps.
 */
export class Engine {
  static create(): Promise<Engine>;
  device(): DeviceInfo;
  /** The device has failed: every later call fails too. */
  has_failed(): boolean;
  /** Bytes of GPU memory that may be taken; without a number, what the device is thought to have. */
  set_memory_budget(bytes?: number): void;
  memory(): MemoryUse;
  /** From now on `listener` is told of shaders that are being compiled for the GPU: how many are, of those asked for. */
  on_compiling(listener: (done: number, total: number) => void): void;
  /** Throws `OverBudget` for weights of so many bytes that do not fit. */
  check_weights(bytes: number): Promise<MemoryReport>;
  /**
   * Bytes of GPU memory, at its peak, that a run would take on a model that is not loaded, by its `config.json`: with examples
   * of the greatest length, and the modules and length limit that loading it would leave.
   */
  plan_model(config: Uint8Array, lora: LoraOptions, train: TrainOptions): number;
  has_model(): boolean;
  /** Ends the run and frees all adapters; a failure that leaves the model before in place leaves them, too. */
  load_model(
    files: ModelFiles,
    on_progress?: (done: number, total: number, bytes_per_second: number, seconds_left?: number) => void,
  ): Promise<ModelInfo>;
  /** Keeps a file under an id, in place of one of that id. What it is tokenized to is kept too, as long as that holds. */
  put_data(id: string, file: DataFile): void;
  /** An unknown id: nothing happens. A run keeps what it has of the file. */
  drop_data(id: string): void;
  inspect_data(id: string, options: { max_length: number; assistant_only_loss?: boolean }): DataReport;
  /** The file's own names; none for plain text. */
  data_columns(id: string): string[];
  /** The first `count` rows as they are in the file, by its own names. */
  data_rows(id: string, count: number): FirstRows;
  count_parameters(lora: LoraOptions): ParameterCount;
  /** Before `start`, with the same arguments: `train` and `evaluation` are ids of data. */
  plan_memory(options: RunOptions, train: string, evaluation?: string): Promise<MemoryReport>;
  /** In place of another run, whose adapter stays. */
  start(options: RunOptions, train: string, evaluation?: string): Promise<StartReport>;
  /**
   * "ahead": keeps the next step under way while this one is reported; "one": nothing is under way afterwards;
   * "drain": reports what is under way, `null` when nothing is. `null` too when the run is over. All three give the same
   * steps.
   */
  step(mode: "ahead" | "one" | "drain"): Promise<StepReport | null>;
  /** State after the last reported step; an error while a step is under way (drain first). */
  checkpoint(): Promise<Checkpoint>;
  /** Ends the run, now or when it is over; its adapter stays under its id. */
  finish(): Promise<FinishReport>;
  /** In place of one of that id; an error for the run's own. */
  load_adapter(id: string, config: Uint8Array, model: Uint8Array): Promise<AdapterInfo>;
  /** An unknown id: nothing happens. The run's own adapter while there is a run: an error. */
  drop_adapter(id: string): void;
  /** Their ids, sorted. */
  adapters(): string[];
  export_adapter(id: string): Promise<AdapterFiles>;
  /** Loads the written files afresh and compares next-token logits of `prompt` with those of the adapter in memory. */
  check_adapter(id: string, files: AdapterFiles, prompt: string): Promise<{ max_difference: number }>;
  /** A PEFT adapter of the loaded model as a GGUF file. */
  adapter_to_gguf(config: Uint8Array, model: Uint8Array, outtype: "f32" | "f16"): Uint8Array<ArrayBuffer>;
  adapter_from_gguf(bytes: Uint8Array): Promise<AdapterFiles>;
  /** A PEFT adapter of the loaded model as mlx-lm's. */
  adapter_to_mlx(config: Uint8Array, model: Uint8Array): MlxFiles;
  adapter_from_mlx(config: Uint8Array, adapters: Uint8Array): AdapterFiles;
  /** The weights of the loaded model with a PEFT adapter added to them. */
  merged_files(config: Uint8Array, model: Uint8Array): MergedFiles;
  /** Writes one of those files, by its number, in pieces: the next one once the last one's promise is fulfilled. */
  merge(
    config: Uint8Array,
    model: Uint8Array,
    file: number,
    write: (piece: Uint8Array<ArrayBuffer>) => void | Promise<void>,
  ): Promise<void>;
  /**
   * Loads the files of a merged model beside the base, and compares the logits of the token after `prompt` with those of
   * the base with the adapter.
   */
  check_merged(
    files: ModelFiles,
    config: Uint8Array,
    model: Uint8Array,
    prompt: string,
    on_progress?: (done: number, total: number, bytes_per_second: number, seconds_left?: number) => void,
  ): Promise<MergeCheck>;
  /** A list of messages goes through the model's chat template. */
  generate(prompt: Prompt, options: GenerateOptions, on_text: (piece: string) => boolean): Promise<GenerateReport>;
}
