/**
 * LoRA fine-tuning of language models in the browser, on the user's GPU. `Tuner` is where to begin; everything of the engine's
 * runs in a worker of its own.
 */
export { Tuner } from "./tuner";
export type { AdapterFormat, GenerateArguments, LoadOptions, LoadProgress, MergeArguments, MergedModel, TrainingArguments, TunerOptions } from "./tuner";
export type { Run, RunEnd, RunEvent } from "./run";
export type { Generation } from "./generation";
export { DEFAULTS, type Settings } from "./settings";
export type { DataInput } from "./data";
export { fromFiles, fromFolder, fromHub, HUB, type HubOptions, type ModelInput } from "./sources";
export { parseName as parseHubName } from "./hub/name";
export { fetchFile, type FetchOptions } from "./fetch-file";
export { adapterOf, CONFIG_NAME, MLX_NAME, MODEL_NAME, readAdapter, unzipAdapter, zipAdapter } from "./adapter-files";
export {
  CancelledError,
  ConfigError,
  DataError,
  DeviceLostError,
  DownloadError,
  FormatError,
  InternalError,
  IoError,
  NotFiniteError,
  OutOfMemoryError,
  PostilError,
  UnsupportedError,
  type ErrorKind,
  type NoGpuReason,
} from "./errors";
export type { Compiling, DataOptions, KeptModel, ModelSource, Progress, SampleOptions } from "./protocol";
export type { HubModel } from "./hub/name";
export type {
  AdapterFiles,
  AdapterInfo,
  Checkpoint,
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
  Message,
  MlxFiles,
  ModelInfo,
  ModuleCount,
  ParameterCount,
  PreviewPiece,
  Prompt,
  Rejected,
  StartReport,
  StepReport,
  TrainOptions,
} from "./engine";
