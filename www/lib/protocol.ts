/**
 * What the page's side and the worker say to each other.
 *
 * The worker owns the engine and runs one command at a time; a training run goes on between commands, one step
 * after the other. Each command gets one reply; events come unasked.
 */
import type {
  AdapterFiles,
  AdapterInfo,
  CheckpointFiles,
  DataFile,
  DataReport,
  DeviceInfo,
  FinishReport,
  FirstRows,
  GenerateOptions,
  GenerateReport,
  LoraOptions,
  MemoryReport,
  MergeCheck,
  MlxFiles,
  ModelInfo,
  ParameterCount,
  Prompt,
  RunOptions,
  StartReport,
  StepReport,
  TrainOptions,
} from "./engine";
import type { Failure } from "./errors";
import type { HubModel } from "./hub/name";

/** Where a model comes from. `name` is what it is called. */
export type ModelSource =
  /** A folder on a server, by its address, which ends with a slash. */
  | { name: string; base: string }
  /** Files that the user chose; `texts` are all but the weights. */
  | { name: string; texts: Record<string, Blob>; weights: { name: string; blob: Blob }[] }
  /** The Hub, or the copy that is kept of what it has. The token is never written anywhere. */
  | { name: string; hub: HubModel; token?: string }
  /** A kept model, by the id that `kept_models` gives it. */
  | { name: string; kept: string };

/** A model from the Hub that is kept in this browser. */
export interface KeptModel {
  id: string;
  /** The Hub that it came from. */
  address: string;
  /** As it is typed: `owner/name`, with the file, and with the revision unless it is `main`. */
  name: string;
  commit: string;
  /** Bytes on disk. */
  bytes: number;
  /** Its download was finished. */
  complete: boolean;
}

/** The training settings that decide what examples are. */
export type DataOptions = Pick<TrainOptions, "max_length"> & Required<Pick<TrainOptions, "assistant_only_loss">>;

/** What is to be trained. */
export interface RunArguments {
  options: RunOptions;
  /** Ids of data that the worker has. */
  train: string;
  evaluation?: string;
}

/** Texts to be written at fixed steps of a run, each time by taking the likeliest tokens. */
export interface SampleOptions {
  /** Steps from one to the next. The first are from before a new run, the last from its end. */
  every: number;
  prompts: readonly string[];
  max_new_tokens: number;
  /** As in `GenerateOptions`. */
  chat: boolean;
}

/** Every command: what it takes and what it gives back. */
export interface Commands {
  /** `wasm` is the address of the WebAssembly module where it does not lie beside the worker. */
  create: { args: { wasm?: string }; result: DeviceInfo };
  /** Reads a file to its end, in a worker that has been asked for nothing else; traps on some that are damaged. */
  check_data: { args: { file: DataFile; wasm?: string }; result: null };
  /** Bytes of GPU memory that may be taken; none: what the device is thought to have. Gives back what that is. */
  set_memory_budget: { args: { bytes?: number }; result: MemoryReport["budget"] };
  /** A failure may leave the model before in place: `has_model` tells. */
  load_model: { args: { source: ModelSource }; result: ModelInfo };
  has_model: { args: Record<never, never>; result: boolean };
  /** Models from the Hub that are kept in this browser. */
  kept_models: { args: Record<never, never>; result: KeptModel[] };
  delete_model: { args: { id: string }; result: KeptModel[] };
  put_data: { args: { id: string; file: DataFile }; result: null };
  drop_data: { args: { id: string }; result: null };
  inspect_data: { args: { data: string; options: DataOptions }; result: DataReport };
  data_columns: { args: { data: string }; result: string[] };
  data_rows: { args: { data: string; count: number }; result: FirstRows };
  count_parameters: { args: LoraOptions; result: ParameterCount };
  /** What a run would take of the GPU's memory. A newer one that comes while it waits makes it fail with `Cancelled`. */
  plan_memory: { args: RunArguments; result: MemoryReport };
  /** The peak of what a run would take on a model that is not loaded, by its config.json. */
  plan_model: { args: { config: object; lora: LoraOptions; train: TrainOptions }; result: number };
  /** The engine's adapters, by their ids. */
  adapters: { args: Record<never, never>; result: string[] };
  load_adapter: { args: { id: string; adapter: AdapterFiles }; result: AdapterInfo };
  drop_adapter: { args: { id: string }; result: null };
  export_adapter: { args: { id: string }; result: AdapterFiles };
  /** Loads the files afresh and compares what they make of `prompt` with what the adapter in the engine does. */
  check_adapter: { args: { id: string; files: AdapterFiles; prompt: string }; result: { max_difference: number } };
  /** An adapter of the loaded model in other tools' formats, and out of them. */
  adapter_to_gguf: { args: { adapter: AdapterFiles }; result: Uint8Array<ArrayBuffer> };
  adapter_from_gguf: { args: { bytes: Uint8Array }; result: AdapterFiles };
  adapter_to_mlx: { args: { adapter: AdapterFiles }; result: MlxFiles };
  adapter_from_mlx: { args: { files: MlxFiles }; result: AdapterFiles };
  /**
   * Writes the loaded model with the adapter merged into it: as a new folder in the one given, or as a zip that is kept
   * until the next one. What was written is compared with what was to be, loaded, and compared with the base and the
   * adapter on `prompt`. Event `merging` tells how far it is.
   */
  merge: {
    args: { adapter: AdapterFiles; name: string; folder?: FileSystemDirectoryHandle; prompt: string };
    result: { file: File | null; check: MergeCheck };
  };
  /** The steps follow by themselves. */
  start: { args: RunArguments & { samples?: SampleOptions }; result: StartReport };
  /** Ends the run after the step in progress; a `start` that still waits fails with the kind `Cancelled`. */
  stop: { args: Record<never, never>; result: null };
  /** Holds the run after the step in progress; the event `paused` follows. */
  pause: { args: Record<never, never>; result: null };
  /** Ends a pause, for good or for so many steps. */
  go_on: { args: { steps?: number }; result: null };
  generate: { args: { prompt: Prompt; options: GenerateOptions }; result: GenerateReport };
}

export type CommandName = keyof Commands;

export type Request = {
  [Name in CommandName]: { id: number; command: Name; args: Commands[Name]["args"] };
}[CommandName];

/**
 * Ends the download, the merging or the text of command `cancel`; one that still waits fails with the kind `Cancelled`.
 * Not queued.
 */
export interface Cancel {
  cancel: number;
}

export type Reply = { id: number; result: Commands[CommandName]["result"] } | { id: number; failure: Failure };

/** Bytes of a model on their way; `total` is 0 while it is not known. */
export interface Progress {
  done: number;
  total: number;
  bytesPerSecond?: number | undefined;
  secondsLeft?: number | undefined;
}

export type MergeStage = "writing" | "checking" | "loading";

/** What a command tells before it is answered; `id` is the command's. */
export type CallEvent = { id: number } & (
  | ({ event: "download" | "upload" } & Progress)
  /** Bytes of a merged model that are written, compared with what was to be written, or loaded to be asked. */
  | ({ event: "merging"; stage: MergeStage } & Progress)
  /** Something that a person should know of the model being loaded. */
  | { event: "notice"; text: string }
  | { event: "text"; piece: string }
  | ({ event: "compiling" } & Compiling)
);

/** Shaders that are compiled for the GPU, of those that are needed next: `done` is `total` when it can go on. */
export interface Compiling {
  done: number;
  total: number;
}

/** The events of a run. */
export type RunEvent =
  /** Not while a text is written: then it is the text's. */
  | ({ event: "compiling" } & Compiling)
  | { event: "step"; report: StepReport }
  /** The run's state while it goes on, so that a crash loses little; `best` by held-out loss so far. */
  | { event: "checkpoint"; step: number; best: boolean; files: CheckpointFiles }
  /** What became of each sample prompt after so many steps. */
  | { event: "samples"; step: number; texts: string[] }
  /** There will be no more samples; the run goes on. */
  | { event: "samples_failed"; failure: Failure }
  | { event: "paused"; step: number; files: CheckpointFiles }
  | { event: "finished"; report: FinishReport; stopped: boolean; files: CheckpointFiles }
  | { event: "failed"; failure: Failure };
