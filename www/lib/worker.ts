/** The dedicated worker: owns the engine and takes commands from a queue, one at a time, between training steps. */
import init, { check_data, Engine } from "postil-engine";
import type { Checkpoint, CheckpointFiles, ModelFiles } from "./engine";
import { CancelledError, ConfigError, ERRORS, trapped, type ErrorKind, type Failure } from "./errors";
import { Store } from "./hub/cache";
import { forgetMerged, mergeToFolder, mergeToZip } from "./merge";
import { readModel } from "./model-files";
import { Pace } from "./pace";
import type { CallEvent, Cancel, CommandName, Commands, MergeStage, Reply, Request, RunEvent, SampleOptions } from "./protocol";

/** How long a run goes at most without a copy of its state on the page. */
const CHECKPOINT_INTERVAL_MS = 60_000;

const PROGRESS_INTERVAL_MS = 100;

/**
 * A step that takes longer gains next to nothing from the next one's waiting on the GPU behind it, and the page is
 * painted after whatever waits there.
 */
const LONG_STEP_MS = 200;

/** A dedicated worker's global scope has the shape of a message port. */
const port = self as unknown as MessagePort;

let engine: Engine | undefined;
/** The files of the model that is loaded. */
let model: ModelFiles | undefined;
interface Running {
  adapter: string;
  /** Steps done. */
  step: number;
  /** What it is to do next. */
  wish: "steps" | "pause" | "stop";
  paused: boolean;
  /** Until it pauses by itself. */
  stepsLeft: number;
  copiedAt: number;
  /** What the last step took; none yet: as if it were long. */
  stepMs: number;
  samples: SampleOptions | undefined;
  sampleDue: boolean;
}

let running: Running | undefined;
let pumping = false;
/** The command whose text is being written. */
let writing: number | undefined;
const queue: Request[] = [];
const cancelled = new Set<number>();
/** What ends the download or the merging of a command. */
const downloads = new Map<number, AbortController>();

type Handlers = { [Name in CommandName]: (args: Commands[Name]["args"], id: number) => Promise<Commands[Name]["result"]> };

const handlers: Handlers = {
  async create({ wasm }) {
    await open(wasm);
    void forgetMerged();
    engine = await Engine.create();
    engine.on_compiling((done, total) => emit({ ...(writing === undefined ? {} : { id: writing }), event: "compiling", done, total }));
    return engine.device();
  },
  async check_data({ file, wasm }) {
    await open(wasm);
    try {
      check_data(file);
    } catch (error) {
      // What else is wrong with it is for the engine to say.
      if (error instanceof WebAssembly.RuntimeError) throw error;
    }
    return null;
  },
  async set_memory_budget({ bytes }) {
    ready().set_memory_budget(bytes);
    // Nothing fits every budget.
    return (await ready().check_weights(0)).budget;
  },
  async load_model({ source }, id) {
    const download = new AbortController();
    downloads.set(id, download);
    try {
      if (cancelled.has(id)) throw new CancelledError("Loading was cancelled.");
      const pace = new Pace();
      const files = await readModel(source, {
        signal: download.signal,
        onProgress: throttled((done, total) => emit({ id, event: "download", ...pace.at(done, total) })),
        onNotice: (text) => emit({ id, event: "notice", text }),
        checkSize: async (bytes) => void (await ready().check_weights(bytes)),
      });
      const onProgress = throttled((done, total, bytesPerSecond: number, secondsLeft?: number) =>
        emit({ id, event: "upload", done, total, bytesPerSecond, secondsLeft }),
      );
      const info = await ready().load_model(files, onProgress);
      model = files;
      return info;
    } finally {
      downloads.delete(id);
      cancelled.delete(id);
    }
  },
  async has_model() {
    return ready().has_model();
  },
  async kept_models() {
    return (await (await Store.open())?.list()) ?? [];
  },
  async delete_model({ id }) {
    const store = await Store.open();
    await store?.remove(id);
    return (await store?.list()) ?? [];
  },
  async put_data({ id, file }) {
    ready().put_data(id, file);
    return null;
  },
  async drop_data({ id }) {
    ready().drop_data(id);
    return null;
  },
  async inspect_data({ data, options }) {
    return ready().inspect_data(data, options);
  },
  async data_columns({ data }) {
    return ready().data_columns(data);
  },
  async data_rows({ data, count }) {
    return ready().data_rows(data, count);
  },
  async count_parameters(lora) {
    return ready().count_parameters(lora);
  },
  async plan_memory({ options, train, evaluation }) {
    return await ready().plan_memory(options, train, evaluation);
  },
  async plan_model({ config, lora, train }) {
    return ready().plan_model(new TextEncoder().encode(JSON.stringify(config)), lora, train);
  },
  async adapters() {
    return ready().adapters();
  },
  async load_adapter({ id, adapter }) {
    return await ready().load_adapter(id, adapter.config, adapter.model);
  },
  async drop_adapter({ id }) {
    ready().drop_adapter(id);
    return null;
  },
  async export_adapter({ id }) {
    return await ready().export_adapter(id);
  },
  async check_adapter({ id, files, prompt }) {
    return await ready().check_adapter(id, files, prompt);
  },
  async adapter_to_gguf({ adapter }) {
    return ready().adapter_to_gguf(adapter.config, adapter.model, "f32");
  },
  async adapter_from_gguf({ bytes }) {
    return await ready().adapter_from_gguf(bytes);
  },
  async adapter_to_mlx({ adapter }) {
    return ready().adapter_to_mlx(adapter.config, adapter.model);
  },
  async adapter_from_mlx({ files }) {
    return ready().adapter_from_mlx(files.config, files.adapters);
  },
  async merge({ adapter, name, folder, prompt }, id) {
    if (!model) throw new ConfigError("There is no model to merge into: load one.");
    const merging = new AbortController();
    downloads.set(id, merging);
    try {
      if (cancelled.has(id)) merging.abort();
      let pace = new Pace();
      const report = throttled((done, total, stage: MergeStage) => {
        if (done === 0) pace = new Pace();
        emit({ id, event: "merging", stage, ...pace.at(done, total) });
      });
      const onProgress = (stage: MergeStage, done: number, total: number) => report(done, total, stage);
      const merge = { engine: ready(), model, adapter, name, prompt, signal: merging.signal, onProgress };
      if (!folder) return await mergeToZip(merge);
      return { file: null, check: await mergeToFolder(merge, folder) };
    } finally {
      downloads.delete(id);
      cancelled.delete(id);
    }
  },
  async start({ options, train, evaluation, samples }) {
    running = undefined;
    const report = await ready().start(options, train, evaluation);
    const { step } = report;
    const sampleDue = samples !== undefined && step === 0;
    const { adapter } = options;
    const copiedAt = performance.now();
    const stepMs = Infinity;
    running = { adapter, step, wish: "steps", paused: false, stepsLeft: Infinity, copiedAt, stepMs, samples, sampleDue };
    return report;
  },
  async stop() {
    wish("stop");
    return null;
  },
  async pause() {
    wish("pause");
    return null;
  },
  async go_on({ steps = Infinity }) {
    if (running?.paused) Object.assign(running, { wish: "steps", paused: false, stepsLeft: steps });
    return null;
  },
  async generate({ prompt, options }, id) {
    writing = id;
    try {
      return await ready().generate(prompt, options, (piece) => {
        emit({ id, event: "text", piece });
        return !cancelled.has(id);
      });
    } finally {
      writing = undefined;
      cancelled.delete(id);
    }
  },
};

port.onmessage = ({ data }: MessageEvent<Request | Cancel>) => {
  if ("cancel" in data) {
    if (!refuse(({ id }) => id === data.cancel)) {
      cancelled.add(data.cancel);
      downloads.get(data.cancel)?.abort();
    }
    return;
  }
  // A run that has not begun is stopped by not beginning it.
  if (data.command === "stop") refuse(({ command }) => command === "start");
  // Only the newest plan is of use.
  if (data.command === "plan_memory") refuse(({ command }) => command === "plan_memory");
  // These go ahead of whatever waits.
  if (data.command === "stop" || data.command === "pause") queue.unshift(data);
  else queue.push(data);
  void pump();
};

/** Takes what still waits out of the queue, if there is any, and answers that it was cancelled. */
function refuse(which: (request: Request) => boolean): boolean {
  const refused = queue.filter(which);
  for (const request of refused) {
    queue.splice(queue.indexOf(request), 1);
    send({ id: request.id, failure: { kind: "Cancelled", message: "It was cancelled before it began.", fatal: false } });
  }
  return refused.length > 0;
}

// What nobody awaits reaches the page as the worker's `error` event.
self.addEventListener("unhandledrejection", ({ reason }) => {
  setTimeout(() => {
    throw reason;
  });
});

async function pump(): Promise<void> {
  if (pumping) return;
  pumping = true;
  try {
    for (;;) {
      const request = queue.shift();
      if (request) await answer(request);
      else if (running && !running.paused) await advance(running);
      else return;
      await nextTask();
    }
  } finally {
    pumping = false;
  }
}

async function answer(request: Request): Promise<void> {
  try {
    const handler = handlers[request.command] as (args: unknown, id: number) => Promise<Commands[CommandName]["result"]>;
    send({ id: request.id, result: await handler(request.args, request.id) });
  } catch (error) {
    send({ id: request.id, failure: describe(error) });
  }
}

function wish(next: "pause" | "stop"): void {
  if (!running || running.wish === "stop") return;
  running.wish = next;
  // The end of a paused run is made like any other's.
  if (next === "stop") running.paused = false;
}

const isDue = (run: Running) => performance.now() - run.copiedAt > CHECKPOINT_INTERVAL_MS;

/** One training step, or what comes after the last one: a checkpoint, a pause, or the end of the run. */
async function advance(run: Running): Promise<void> {
  try {
    if (run.sampleDue && (run.wish === "steps" || (run.wish === "pause" && run.stepsLeft <= 0))) {
      run.sampleDue = !(await sample(run));
      return;
    }
    // A checkpoint and a pause come between steps: first what is under way is brought to its end.
    const drains = run.wish !== "steps" || isDue(run);
    const isLast = run.stepsLeft === 1 || isSampled(run, run.step + 1);
    const ahead = !isLast && run.stepMs < LONG_STEP_MS;
    const before = performance.now();
    const report = await ready().step(drains ? "drain" : ahead ? "ahead" : "one");
    if (report) {
      run.stepMs = performance.now() - before;
      emit({ event: "step", report });
      run.step = report.step;
      run.stepsLeft -= 1;
      run.sampleDue = isSampled(run, run.step);
      if (run.stepsLeft <= 0 && run.wish === "steps") run.wish = "pause";
      if (!report.done) {
        // After an evaluation nothing is under way.
        if (report.eval_loss !== undefined) await keep(run, report.improved);
        return;
      }
    } else if (run.wish === "pause") {
      run.paused = true;
      emitFiles((step, files) => ({ event: "paused", step, files }), await ready().checkpoint());
      return;
    } else if (run.wish === "steps" && isDue(run)) {
      await keep(run, false);
      return;
    }
    if (report?.done && run.wish !== "stop") await sample(run);
    running = undefined;
    const files = await ready().checkpoint();
    const end = await ready().finish();
    emitFiles((_, files) => ({ event: "finished", report: end, stopped: run.wish === "stop", files }), files);
  } catch (error) {
    running = undefined;
    emit({ event: "failed", failure: describe(error) });
  }
}

const isSampled = ({ samples }: Running, step: number) => samples !== undefined && step % samples.every === 0;

/** Whether there is nothing left to write: a pause and a stop cut it short. */
async function sample(run: Running): Promise<boolean> {
  if (!run.samples) return true;
  const { prompts, max_new_tokens, chat } = run.samples;
  const options = { max_new_tokens, chat, adapter: run.adapter, temperature: 0, top_k: 0, top_p: 1, seed: 0 };
  const texts: string[] = [];
  try {
    for (const prompt of prompts) {
      const { text, stopped } = await ready().generate(prompt, options, () => !isHurried());
      if (stopped === "caller" || isHurried()) return false;
      texts.push(text);
    }
    emit({ event: "samples", step: run.step, texts });
  } catch (error) {
    const failure = describe(error);
    if (failure.fatal) throw error;
    run.samples = undefined;
    emit({ event: "samples_failed", failure });
  }
  return true;
}

const isHurried = () => queue.some(({ command }) => command === "stop" || command === "pause");

async function keep(run: Running, best: boolean): Promise<void> {
  emitFiles((step, files) => ({ event: "checkpoint", step, best, files }), await ready().checkpoint());
  run.copiedAt = performance.now();
}

function emitFiles(event: (step: number, files: CheckpointFiles) => RunEvent, { step, files }: Checkpoint): void {
  port.postMessage(event(step, files), Object.values(files).map(({ buffer }) => buffer as ArrayBuffer));
}

/** Passes on the beginning, the end, and of what is between them as much as a person can see. */
function throttled<Report extends (done: number, total: number, ...more: never[]) => void>(report: Report): Report {
  let last = -Infinity;
  return ((done, total, ...more) => {
    const now = performance.now();
    if (now - last < PROGRESS_INTERVAL_MS && done !== 0 && done !== total) return;
    last = now;
    report(done, total, ...more);
  }) as Report;
}

async function open(wasm: string | undefined): Promise<void> {
  await (wasm === undefined ? init() : init({ module_or_path: wasm }));
}

function ready(): Engine {
  if (!engine) throw new ConfigError("The engine has not been created.");
  return engine;
}

function send(reply: Reply): void {
  port.postMessage(reply);
}

function emit(event: CallEvent | RunEvent): void {
  port.postMessage(event);
}

function describe(error: unknown): Failure {
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof WebAssembly.RuntimeError) return { kind: "Trap", message: trapped(message), fatal: true };
  const named = error instanceof Error && "kind" in error ? String(error.kind) : "";
  const kind = named in ERRORS ? (named as ErrorKind) : "Internal";
  return { kind, message, fatal: kind === "Device" || engine?.has_failed() === true };
}

/** Lets messages in. Timers are clamped to milliseconds and throttled in hidden tabs; message channels are not. */
function nextTask(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}
