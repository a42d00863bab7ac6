/** The WebAssembly module (`src/web.rs`), as the worker sees it. Every error thrown carries `kind` and a complete message. */
declare module "postil-engine" {
  export default function init(options?: { module_or_path?: URL | string }): Promise<{ memory: WebAssembly.Memory }>;

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
    /** Other ranks and alphas for some modules, by PEFT's rules for the keys. */
    rank_pattern?: Record<string, number>;
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

  /** A run's state: PEFT's two files, `optimizer.safetensors` and `trainer_state.json`, by their names. */
  export type CheckpointFiles = Record<string, Uint8Array>;

  export interface Checkpoint {
    step: number;
    files: CheckpointFiles;
  }

  export interface AdapterInfo {
    r: number;
    lora_alpha: number;
    target_modules: string[];
    parameters: number;
  }

  /** Bytes of GPU memory by the program's own count. */
  export interface MemoryUse {
    allocated: number;
    peak: number;
  }

  export interface RunOptions {
    /** The id under which the engine keeps the run's adapter. */
    adapter: string;
    /** To go on from; `lora` and `init_adapter` are not used then. */
    checkpoint?: CheckpointFiles;
    /** With a checkpoint: there may be more steps than its run had. The schedule is the one over all steps. */
    extend?: boolean;
    lora: LoraOptions;
    train: TrainOptions;
    init_adapter?: AdapterFiles;
    /** Bytes of GPU memory that the run may take; by default what the device grants. */
    memory_budget?: number;
    /** Change the settings of a run that does not fit; the changes are among the warnings. */
    auto?: boolean;
  }

  /** What a run takes in GPU memory, in bytes. */
  export interface MemoryReport {
    items: {
      purpose: "weights" | "adapter" | "gradients" | "moments" | "activations" | "workspace";
      bytes: number;
    }[];
    total: number;
    budget: { bytes: number; source: string };
    fits: boolean;
    /** Empty if it fits. */
    proposals: {
      /** As `name value`. */
      changes: string[];
      /** All training settings with these changes. */
      train: TrainOptions;
      total: number;
      fits: boolean;
    }[];
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
    /** Steps done already: of a checkpoint. */
    step: number;
    total_steps: number;
    examples: number;
    eval_examples: number;
    warnings: string[];
    /** Held-out loss before the first step of a new run. */
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
    /** Bytes allocated on the GPU. */
    memory: number;
    /** `eval_loss` is the lowest of the run so far. */
    improved: boolean;
    done: boolean;
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
    /** The adapter's strength: 1 is as trained, 0 the base. */
    adapter_scale?: number;
    /** Put a text through the model's chat template, as one message of the user's. */
    chat: boolean;
  }

  /** A text, or a conversation for the model's chat template. */
  export type Prompt = string | readonly { role: string; content: string }[];

  export interface GenerateReport {
    text: string;
    tokens: number;
    tokens_per_second: number;
    stopped: "eos" | "length" | "caller";
  }

  export class Engine {
    static create(): Promise<Engine>;
    device(): DeviceInfo;
    /** The device has failed: every later call fails too. */
    has_failed(): boolean;
    load_model(
      files: ModelFiles,
      on_progress?: (done: number, total: number, bytes_per_second: number, seconds_left?: number) => void,
    ): Promise<ModelInfo>;
    inspect_data(file: DataFile, options: { max_length: number; assistant_only_loss?: boolean }): DataReport;
    /** The file's own names; none for plain text. */
    data_columns(file: DataFile): string[];
    /** The first `count` rows as they are in the file, by its own names. */
    data_rows(file: DataFile, count: number): FirstRows;
    count_parameters(lora: LoraOptions): ParameterCount;
    /** Before `start`, with the same arguments. */
    plan_memory(options: RunOptions, train: DataFile, evaluation?: DataFile): Promise<MemoryReport>;
    start(options: RunOptions, train: DataFile, evaluation?: DataFile): Promise<StartReport>;
    /**
     * "ahead" keeps the next step under way while this one is reported; after "one" nothing is under way; "drain" reports
     * what is under way. `null`: the run is over, or nothing is under way.
     */
    step(mode: "ahead" | "one" | "drain"): Promise<StepReport | null>;
    /** The state after the last reported step. Not while a step is under way; after an evaluation none is. */
    checkpoint(): Promise<Checkpoint>;
    finish(): Promise<FinishReport>;
    adapters(): string[];
    load_adapter(id: string, config: Uint8Array, model: Uint8Array): Promise<AdapterInfo>;
    /** Not the adapter of a run that goes on. */
    drop_adapter(id: string): void;
    export_adapter(id: string): Promise<AdapterFiles>;
    /** The largest difference between the logits after `prompt` of the adapter and of these files, loaded afresh. */
    check_adapter(id: string, files: AdapterFiles, prompt: string): Promise<{ max_difference: number }>;
    generate(prompt: Prompt, options: GenerateOptions, on_text: (piece: string) => boolean): Promise<GenerateReport>;
    memory(): MemoryUse;
    /** Ends the device as a driver's reset would; for tests. */
    lose_device(): void;
  }
}
