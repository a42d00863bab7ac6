/** The package's centre: a worker with a GPU and a model, and what is done with them. */
import { unzipAdapter, unzipMlx, zipAdapter, zipMlx } from "./adapter-files";
import { Client } from "./client";
import { Guard, Shelf, type DataInput } from "./data";
import type {
  AdapterFiles,
  AdapterInfo,
  DataReport,
  DeviceInfo,
  FirstRows,
  GenerateOptions,
  MemoryReport,
  MergeCheck,
  ModelInfo,
  ParameterCount,
  Prompt,
} from "./engine";
import { CancelledError, ConfigError, type PostilError } from "./errors";
import { Generation } from "./generation";
import type { CallEvent, Compiling, DataOptions, KeptModel, MergeStage, Progress, RunArguments, SampleOptions } from "./protocol";
import { Run, type Begin, type RunEvent } from "./run";
import { checkNames, DEFAULTS, loraOptions, trainOptions, type Settings } from "./settings";
import { toSource, type HubOptions, type ModelInput } from "./sources";
import { requireGpu } from "./support";

/** How far a model on its way is: first from its server, if it has one, then to the GPU. */
export interface LoadProgress extends Progress {
  stage: "download" | "upload";
}

export interface LoadOptions extends HubOptions {
  onProgress?: ((progress: LoadProgress) => void) | undefined;
  /** Something that a person should know, such as that the model cannot be kept. */
  onNotice?: ((text: string) => void) | undefined;
  signal?: AbortSignal | undefined;
}

export interface TunerOptions extends LoadOptions {
  /** None: it is loaded later, with `loadModel`. */
  model?: ModelInput | undefined;
  /** Bytes of GPU memory that may be taken; none: what the device is thought to have. */
  memoryBudget?: number | undefined;
  /** Where `worker.js` is, if not beside this module. Browsers want it from the page's own origin. */
  workerUrl?: string | URL | undefined;
  /** Where `postil_bg.wasm` is, if not beside the worker. */
  wasmUrl?: string | URL | undefined;
  /** Called once, when nothing more can be done with this tuner: the error is fatal. Not called after `dispose`. */
  onLost?: ((error: PostilError) => void) | undefined;
}

/** What a run is made of. Settings that are not given are those of `DEFAULTS`. */
export interface TrainingArguments extends Partial<Settings> {
  data: DataInput;
  /** Held-out data, whose loss is taken before the first step, every `eval_steps` steps, and at the end. */
  evaluation?: DataInput | undefined;
  /** The id of the run's adapter, in place of one of that id; "default" if not given. */
  adapter?: string | undefined;
  /** Starts from this adapter instead of a new one, with its rank, alpha and modules. */
  init_adapter?: AdapterFiles | undefined;
  /** Goes on from a run's state: the same settings, data and model, or the error says what differs. */
  checkpoint?: RunArguments["options"]["checkpoint"] | undefined;
  /** With `checkpoint`: `max_steps` may be larger than it was. */
  extend?: boolean | undefined;
  samples?: SampleOptions | undefined;
  /** Stops the run, whose loop and `finished` then fail with the signal's reason. The adapter stays. */
  signal?: AbortSignal | undefined;
  onEvent?: ((event: RunEvent) => void) | undefined;
}

export interface GenerateArguments extends Partial<GenerateOptions> {
  prompt: Prompt;
  /** How many of the shaders that the text needs are compiled: each takes a moment when it is first needed. */
  onCompiling?: ((progress: Compiling) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/** PEFT's zip, a GGUF file, or a zip as mlx-lm has it. */
export type AdapterFormat = "peft" | "gguf" | "mlx";

export interface MergeArguments {
  /** As in `exportAdapter`. */
  adapter?: string | AdapterFiles | undefined;
  /** Of the new folder, or of the zip without `.zip`. */
  name: string;
  /** Where the folder is made; without it, the model becomes a zip in the browser's own storage. */
  folder?: FileSystemDirectoryHandle | undefined;
  /** What the written model and the base with the adapter are asked when their logits are compared. */
  prompt?: string | undefined;
  onProgress?: ((progress: Progress & { stage: MergeStage }) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/** A merged model, as it is on the disk. */
export interface MergedModel {
  /** The zip; nothing if a folder was written. */
  file: File | null;
  /** What comparing its logits has given, or why they were not compared: it takes the memory of a second model. */
  check: MergeCheck;
}

const DEFAULT_ADAPTER = "default";

/** What a merged model is asked where no prompt is given. */
const ANY_PROMPT = "The";

/** What a run is given beside its settings. */
const RUN_NAMES = ["data", "evaluation", "adapter", "init_adapter", "checkpoint", "extend", "samples", "signal", "onEvent"] as const satisfies readonly (keyof TrainingArguments)[];

/** Greedy: the likeliest token each time. */
const GENERATE: Omit<GenerateOptions, "adapter"> = { max_new_tokens: 64, temperature: 0, top_k: 0, top_p: 1, seed: 0, chat: false };

const disposed = () => new CancelledError("The tuner was disposed of.", "Cancelled", true);

export class Tuner {
  private loaded: ModelInfo | undefined;
  private run: Run | undefined;
  /** Of the newest run that has begun: what is meant where no adapter is named. */
  private newest: string | undefined;
  private readonly shelf: Shelf;

  private constructor(
    private readonly client: Client,
    /** The GPU that it runs on. */
    readonly device: DeviceInfo,
    options: Pick<TunerOptions, "workerUrl">,
    wasm: string | undefined,
  ) {
    this.shelf = new Shelf(client, new Guard(options.workerUrl, wasm));
  }

  /** Starts a worker, opens a GPU, loads a model. Several tuners work side by side, as far as the GPU's memory goes. */
  static async create(options: TunerOptions = {}): Promise<Tuner> {
    const { model, memoryBudget, workerUrl, wasmUrl, onLost, signal } = options;
    signal?.throwIfAborted();
    await requireGpu();
    signal?.throwIfAborted();
    let tuner: Tuner | undefined;
    let isMade = false;
    const client = new Client({
      worker: workerUrl,
      onRunEvent: (event) => tuner?.run?.receive(event),
      onCrash(error) {
        tuner?.end(error);
        if (isMade) onLost?.(error);
      },
    });
    const abort = () => client.close(disposed());
    signal?.addEventListener("abort", abort);
    try {
      // Seen from the page, not from the worker.
      const wasm = wasmUrl === undefined ? undefined : new URL(wasmUrl, document.baseURI).href;
      const device = await client.call("create", wasm === undefined ? {} : { wasm });
      tuner = new Tuner(client, device, options, wasm);
      if (memoryBudget !== undefined) await tuner.setMemoryBudget(memoryBudget);
      if (model !== undefined) await tuner.loadModel(model, options);
      signal?.throwIfAborted();
      isMade = true;
      return tuner;
    } catch (error) {
      client.close(disposed());
      throw signal?.aborted ? signal.reason : error;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  /** The model that is loaded. */
  get model(): ModelInfo | undefined {
    return this.loaded;
  }

  /** Ends the worker, and everything that it holds on the GPU. What is under way fails with `CancelledError`. */
  dispose(): void {
    const reason = disposed();
    this.client.close(reason);
    this.end(reason);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.dispose();
  }

  /** Bytes of GPU memory that may be taken; without a number, what the device is thought to have. Gives what that is. */
  async setMemoryBudget(bytes?: number): Promise<MemoryReport["budget"]> {
    return await this.client.call("set_memory_budget", bytes === undefined ? {} : { bytes });
  }

  /**
   * In place of the model there was, whose adapters go with it. What is refused before anything of it is loaded (a file that
   * is not right, a download that fails, a model that is too large, an abort) leaves everything as it was: `model` tells.
   */
  async loadModel(model: ModelInput, options: LoadOptions = {}): Promise<ModelInfo> {
    if (this.run) throw new ConfigError("A run is under way: stop it before another model is loaded.");
    const { signal, onProgress, onNotice } = options;
    const source = await toSource(model, options);
    const onEvent = (event: CallEvent) => {
      if (event.event === "notice") onNotice?.(event.text);
      if (event.event !== "download" && event.event !== "upload") return;
      const { event: stage, id: _, ...progress } = event;
      onProgress?.({ stage, ...progress });
    };
    try {
      this.loaded = await this.client.call("load_model", { source }, { signal, onEvent });
      this.newest = undefined;
      return this.loaded;
    } catch (error) {
      if (!(await this.client.call("has_model", {}).catch(() => false))) {
        this.loaded = undefined;
        this.newest = undefined;
      }
      throw error;
    }
  }

  /** Models from the Hub that are kept in this browser. */
  async keptModels(): Promise<KeptModel[]> {
    return await this.client.call("kept_models", {});
  }

  /** Frees what a kept model takes of the disk; gives those that are left. */
  async deleteKeptModel(id: string): Promise<KeptModel[]> {
    return await this.client.call("delete_model", { id });
  }

  /** What the loaded model's tokenizer makes of data: counts, lengths, warnings, the first examples. */
  async inspectData(data: DataInput, options: Partial<DataOptions> & { signal?: AbortSignal | undefined } = {}): Promise<DataReport> {
    const { max_length = DEFAULTS.max_length, assistant_only_loss = DEFAULTS.assistant_only_loss, signal } = options;
    const reading = { max_length, assistant_only_loss };
    return await this.shelf.use([data], ([id]) => this.client.call("inspect_data", { data: id, options: reading }, { signal }));
  }

  /** The columns' own names; none for plain text. */
  async dataColumns(data: DataInput): Promise<string[]> {
    return await this.shelf.use([data], ([id]) => this.client.call("data_columns", { data: id }));
  }

  /** The first `count` rows as they are in the file. */
  async dataRows(data: DataInput, count: number): Promise<FirstRows> {
    return await this.shelf.use([data], ([id]) => this.client.call("data_rows", { data: id, count }));
  }

  /** How many parameters an adapter would have on the loaded model. */
  async countParameters(settings: Partial<Settings>): Promise<ParameterCount> {
    checkNames(settings);
    return await this.client.call("count_parameters", loraOptions(settings));
  }

  /** What a run would take of the GPU's memory. A newer plan that comes while it waits makes it fail with `CancelledError`. */
  async planMemory(run: TrainingArguments): Promise<MemoryReport> {
    return await this.withArguments(run, (args) => this.client.call("plan_memory", args));
  }

  /**
   * Bytes of GPU memory, at its peak, that a run with these settings would take on a model that is not loaded: `config` is
   * what its config.json says. With examples of the greatest length, and the modules and length limit that the model has.
   */
  async planModel(config: object, settings: Partial<Settings>): Promise<number> {
    checkNames(settings);
    return await this.client.call("plan_model", { config, lora: loraOptions(settings), train: trainOptions(settings) });
  }

  /** Begins a run, which then goes on by itself. One at a time. */
  train(run: TrainingArguments): Run {
    if (this.run) throw new ConfigError("A run is under way: stop it before another one is begun.");
    const { adapter = DEFAULT_ADAPTER, signal, samples, onEvent } = run;
    const begin: Begin = (start) => this.withArguments(run, (args) => start({ ...args, ...(samples ? { samples } : {}) }));
    const begun = new Run(adapter, this.client, { signal, onEvent, onOver: () => (this.run = undefined) }, begin);
    this.run = begun;
    begun.started.then(
      () => (this.newest = adapter),
      () => {},
    );
    return begun;
  }

  /**
   * Writes on from a text, or answers a conversation by the model's chat template; while a run goes on, between two of its
   * steps. By default greedily, 64 tokens, with the newest run's adapter; `adapter: null` is the base alone.
   */
  generate({ prompt, signal, onCompiling, ...given }: GenerateArguments): Generation {
    const said = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
    const options: GenerateOptions = { ...GENERATE, adapter: this.newest ?? null, ...said };
    return new Generation((onText) => {
      const onEvent = (event: CallEvent) => {
        if (event.event === "text") onText(event.piece);
        else if (event.event === "compiling") onCompiling?.({ done: event.done, total: event.total });
      };
      return this.client.call("generate", { prompt, options }, { signal, onEvent });
    }, signal);
  }

  /** Ids of the adapters that can be used. */
  async adapters(): Promise<string[]> {
    return await this.client.call("adapters", {});
  }

  /** Puts an adapter beside the others, in place of one of that id. */
  async loadAdapter(id: string, files: AdapterFiles): Promise<AdapterInfo> {
    return await this.client.call("load_adapter", { id, adapter: files });
  }

  /** Frees an adapter; not the one of a run that is under way. */
  async dropAdapter(id: string): Promise<void> {
    await this.client.call("drop_adapter", { id });
    if (this.newest === id) this.newest = undefined;
  }

  /** PEFT's two files of an adapter, as it is now; by default of the newest run's. */
  async adapterFiles(id = this.newest): Promise<AdapterFiles> {
    if (id === undefined) throw new ConfigError("There is no adapter: train or load one first.");
    return await this.client.call("export_adapter", { id });
  }

  /** An adapter as one file: the newest run's, another one by its id, or one given by its files. */
  async exportAdapter(options: { adapter?: string | AdapterFiles | undefined; format?: AdapterFormat } = {}): Promise<Blob> {
    const { format = "peft" } = options;
    const adapter = await this.filesOf(options.adapter);
    if (format === "gguf") return new Blob([await this.client.call("adapter_to_gguf", { adapter })]);
    if (format === "mlx") return zipMlx(await this.client.call("adapter_to_mlx", { adapter }));
    return zipAdapter(adapter);
  }

  /** The adapter in a file as `exportAdapter` writes it; `name` is for errors. */
  async importAdapter(file: Blob, format: AdapterFormat = "peft", name = "The file"): Promise<AdapterFiles> {
    if (format === "gguf") return await this.client.call("adapter_from_gguf", { bytes: new Uint8Array(await file.arrayBuffer()) });
    if (format === "mlx") return await this.client.call("adapter_from_mlx", { files: await unzipMlx(name, file) });
    return await unzipAdapter(name, file);
  }

  /** Loads `files` afresh and compares the logits of the token after `prompt` with those of the adapter `id`. */
  async checkAdapter(id: string, files: AdapterFiles, prompt: string): Promise<{ max_difference: number }> {
    return await this.client.call("check_adapter", { id, files, prompt });
  }

  /**
   * Writes the loaded model with an adapter merged into it, and checks what was written: byte for byte, and where there is
   * memory for it loaded again, with the logits that the base and the adapter give.
   */
  async exportModel({ adapter, name, folder, prompt = ANY_PROMPT, onProgress, signal }: MergeArguments): Promise<MergedModel> {
    const onEvent = (message: CallEvent) => {
      if (message.event !== "merging") return;
      const { event: _, id: __, ...progress } = message;
      onProgress?.(progress);
    };
    const args = { adapter: await this.filesOf(adapter), name, prompt, ...(folder ? { folder } : {}) };
    return await this.client.call("merge", args, { signal, onEvent });
  }

  private async filesOf(adapter: string | AdapterFiles | undefined): Promise<AdapterFiles> {
    return typeof adapter === "object" ? adapter : await this.adapterFiles(adapter);
  }

  private async withArguments<Result>(run: TrainingArguments, act: (args: RunArguments) => Promise<Result>): Promise<Result> {
    const { adapter = DEFAULT_ADAPTER, eval_split = DEFAULTS.eval_split, init_adapter, checkpoint, extend } = run;
    checkNames(run, RUN_NAMES);
    if (run.evaluation && eval_split !== 0) {
      throw new ConfigError("evaluation and eval_split are both given; held-out data comes from one of them.");
    }
    const options = {
      adapter,
      lora: loraOptions(run),
      train: trainOptions(run),
      // None is 0 in the settings.
      ...(eval_split === 0 ? {} : { eval_split }),
      ...(init_adapter ? { init_adapter } : {}),
      ...(checkpoint ? { checkpoint } : {}),
      ...(extend === undefined ? {} : { extend }),
    };
    if (!run.evaluation) return await this.shelf.use([run.data], ([train]) => act({ options, train }));
    return await this.shelf.use([run.data, run.evaluation], ([train, evaluation]) => act({ options, train, evaluation }));
  }

  private end(error: PostilError): void {
    this.loaded = undefined;
    this.run?.fail(error);
  }
}

