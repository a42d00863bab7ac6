/** Everything the page shows, as signals. Only the modules in `session/` write here. */
import { computed, signal } from "@preact/signals";
import type {
  AdapterFiles,
  DataFile,
  DataReport,
  DeviceInfo,
  MemoryReport,
  ModelInfo,
  ParameterCount,
  StartReport,
  StepReport,
} from "postil-engine";
import type { KeptModel } from "./hub/cache";
import type { Failure, Progress } from "./protocol";

/** Why this browser cannot run the page. */
export type Unsupported = "insecure" | "no-webgpu" | "no-adapter";

export type Phase =
  | { name: "starting" }
  | { name: "unsupported"; reason: Unsupported; message?: string }
  | { name: "failed"; message: string }
  | { name: "ready" }
  | { name: "crashed"; failure: Failure };

export const phase = signal<Phase>({ name: "starting" });
export const device = signal<DeviceInfo | undefined>(undefined);

// --- the model ---

export type ModelState =
  | { name: "loading"; title: string; stage: "download" | "upload"; progress: Progress; cancel?: () => void }
  | { name: "loaded"; info: ModelInfo }
  | { name: "failed"; message: string };

export const model = signal<ModelState>({ name: "loading", title: "", stage: "download", progress: { done: 0, total: 0 } });
/** What a person should know of the model being loaded, or of the one that could not be. */
export const modelNotices = signal<readonly { kind: "error" | "note"; text: string }[]>([]);
/** Models from the Hub that are kept in this browser. */
export const keptModels = signal<readonly KeptModel[]>([]);
/** Where models are looked for by name. */
export const hubAddress = signal<string>(import.meta.env.VITE_HUB_ADDRESS ?? "https://huggingface.co");
/** Opens gated and private models. In memory only: it is gone with the tab. */
export const hubToken = signal("");
export const modelInfo = computed(() => (model.value.name === "loaded" ? model.value.info : undefined));

// --- the data ---

/** One entry of `demo/data/index.json`. */
export interface DataSet {
  id: string;
  title: string;
  description: string;
  train: string;
  eval?: string;
  prompts: string[];
  chat: boolean;
}

export interface LoadedFile {
  file: DataFile;
  report?: DataReport;
  error?: string;
  /** What the file calls its columns; of files from the user's disk. */
  columns?: readonly string[];
}

export const OWN_FILES = "own";

export const dataSets = signal<DataSet[]>([]);
export const dataSetsError = signal<string | undefined>(undefined);
/** The chosen set's id, or `OWN_FILES`. */
export const chosenData = signal<string>(OWN_FILES);
export const trainFile = signal<LoadedFile | undefined>(undefined);
export const evalFile = signal<LoadedFile | undefined>(undefined);
export const chosenSet = computed(() => dataSets.value.find(({ id }) => id === chosenData.value));

// --- the settings ---

export interface Settings {
  r: number;
  lora_alpha: number;
  lora_dropout: number;
  target_modules: string[];
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

export const settings = signal<Settings>({
  r: 16,
  lora_alpha: 32,
  lora_dropout: 0,
  target_modules: [],
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
});

export type CountState = { count?: ParameterCount; error?: string };
export const parameterCount = signal<CountState>({});

/** What the run would take of the GPU's memory; empty while that is not known. */
export const memoryPlan = signal<{ report?: MemoryReport; error?: string }>({});
/** GiB of it that the user allows; nothing: what the engine thinks that there is. */
export const memoryBudget = signal<number | undefined>(undefined);

/** An adapter the user brought, to start from and to compare with. */
export interface InitAdapter {
  name: string;
  files: AdapterFiles;
}

export const initAdapter = signal<InitAdapter | undefined>(undefined);
export const initAdapterError = signal<string | undefined>(undefined);

// --- the run ---

export interface Evaluation {
  step: number;
  loss: number;
}

export type RunStatus = "idle" | "preparing" | "training" | "stopping" | "finished" | "stopped" | "failed";

export interface Run {
  status: RunStatus;
  start?: StartReport;
  last?: StepReport;
  bestEvalLoss?: number;
  bestStep?: number;
  secondsLeft?: number;
  /** How long the steps so far have taken. */
  seconds?: number;
  error?: string;
}

export const run = signal<Run>({ status: "idle" });
/** Every step's report so far; replaced, never changed in place. */
export const steps = signal<readonly StepReport[]>([]);
export const evaluations = signal<readonly Evaluation[]>([]);
export const active = computed(() => ["preparing", "training", "stopping"].includes(run.value.status));

/** The newest copy of the adapter on the page. */
export interface SavedAdapter {
  files: AdapterFiles;
  step: number;
  /** The run it comes from reached its end or was stopped. */
  complete: boolean;
}

export const savedAdapter = signal<SavedAdapter | undefined>(undefined);
/** The copy with the lowest held-out loss of the run. */
export const bestAdapter = signal<(SavedAdapter & { loss: number }) | undefined>(undefined);
/** What an earlier visit left in this browser. */
export interface KeptAdapter extends SavedAdapter {
  /** Milliseconds since 1970. */
  date: number;
}

export const keptAdapter = signal<KeptAdapter | undefined>(undefined);
/** An adapter is loaded in the engine: trained here or brought along. */
export const adapterLoaded = signal(false);

// --- the comparison ---

export interface Sampling {
  temperature: number;
  top_k: number;
  top_p: number;
  max_new_tokens: number;
  seed: number;
}

export const prompt = signal("");
export const chat = signal(false);
export const sampling = signal<Sampling>({ temperature: 0.7, top_k: 40, top_p: 0.95, max_new_tokens: 100, seed: 0 });

export interface Output {
  status: "waiting" | "writing" | "done" | "stopped" | "failed";
  text: string;
  tokens?: number;
  tokensPerSecond?: number;
  error?: string;
}

export interface Comparison {
  id: number;
  prompt: string;
  base: Output;
  /** Absent while there is no adapter to compare with. */
  tuned?: Output;
}

export const comparisons = signal<readonly Comparison[]>([]);
export const generating = signal(false);
/** What has become of the text written last, for screen readers. */
export const writingNews = signal("");
