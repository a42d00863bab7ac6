/** The dedicated worker: owns the engine and takes commands from a queue, one at a time, between training steps. */
import init, { Engine, type AdapterFiles } from "postil-engine";
import { Store } from "./hub/cache";
import { Cancelled } from "./hub/client";
import { readModel } from "./model-files";
import { Pace } from "./pace";
import { trapped, type Cancel, type CommandName, type Commands, type Event, type Failure, type Reply, type Request } from "./protocol";

/** How long a run goes at most without a copy of its adapter on the page. */
const ADAPTER_COPY_INTERVAL_MS = 60_000;

const PROGRESS_INTERVAL_MS = 100;

/** A dedicated worker's global scope has the shape of a message port. */
const port = self as unknown as MessagePort;

let engine: Engine | undefined;
let running: { stopping: boolean; copiedAt: number } | undefined;
let pumping = false;
const queue: Request[] = [];
const cancelled = new Set<number>();
/** What ends the download of a command. */
const downloads = new Map<number, AbortController>();

type Handlers = { [Name in CommandName]: (args: Commands[Name]["args"], id: number) => Promise<Commands[Name]["result"]> };

const handlers: Handlers = {
  async create() {
    const { memory } = await init();
    // For whoever looks from the console, and for tests: WebAssembly's memory, which never shrinks.
    Object.assign(self, { wasmMemoryBytes: () => memory?.buffer.byteLength });
    engine = await Engine.create();
    return engine.device();
  },
  async set_memory_budget({ bytes }) {
    ready().set_memory_budget(bytes);
    return null;
  },
  async load_model({ source }, id) {
    const download = new AbortController();
    downloads.set(id, download);
    try {
      if (cancelled.has(id)) throw new Cancelled();
      const pace = new Pace();
      const files = await readModel(source, {
        signal: download.signal,
        onProgress: throttled((done, total) => emit({ event: "download", ...pace.at(done, total) })),
        onNotice: (text) => emit({ event: "notice", text }),
        checkSize: async (bytes) => void (await ready().check_weights(bytes)),
      });
      const onProgress = throttled((done, total, bytesPerSecond: number, secondsLeft?: number) =>
        emit({ event: "upload", done, total, bytesPerSecond, secondsLeft }),
      );
      return await ready().load_model(files, onProgress);
    } finally {
      downloads.delete(id);
      cancelled.delete(id);
    }
  },
  async kept_models() {
    return (await (await Store.open())?.list()) ?? [];
  },
  async delete_model({ id }) {
    const store = await Store.open();
    await store?.remove(id);
    return (await store?.list()) ?? [];
  },
  async inspect_data({ file, options }) {
    return ready().inspect_data(file, options);
  },
  async data_columns({ file }) {
    return ready().data_columns(file);
  },
  async count_parameters(lora) {
    return ready().count_parameters(lora);
  },
  async plan_memory({ options, train, evaluation }) {
    return await ready().plan_memory(options, train, evaluation);
  },
  async has_adapter() {
    return ready().has_adapter();
  },
  async load_adapter({ adapter }) {
    await ready().load_adapter(adapter.config, adapter.model);
    return null;
  },
  async start({ options, train, evaluation }) {
    const report = await ready().start(options, train, evaluation);
    running = { stopping: false, copiedAt: performance.now() };
    return report;
  },
  async stop() {
    if (running) running.stopping = true;
    return null;
  },
  async generate({ prompt, options }, id) {
    try {
      return await ready().generate(prompt, options, (piece) => {
        emit({ event: "text", id, piece });
        return !cancelled.has(id);
      });
    } finally {
      cancelled.delete(id);
    }
  },
};

port.onmessage = ({ data }: MessageEvent<Request | Cancel>) => {
  if ("cancel" in data) {
    cancelled.add(data.cancel);
    downloads.get(data.cancel)?.abort();
    return;
  }
  // Stop goes ahead of whatever waits.
  if (data.command === "stop") queue.unshift(data);
  else queue.push(data);
  void pump();
};

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
      else if (running) await advance(running);
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

/** One training step, or the end of the run. */
async function advance(run: NonNullable<typeof running>): Promise<void> {
  try {
    const report = await ready().step(run.stopping);
    if (report) {
      emit({ event: "step", report });
      if (!report.done) {
        const due = performance.now() - run.copiedAt > ADAPTER_COPY_INTERVAL_MS;
        if (report.eval_loss === undefined && !due) return;
        run.copiedAt = performance.now();
        const { step, improved: best } = report;
        emitAdapter((adapter) => ({ event: "adapter", step, best, adapter }), await ready().export_adapter());
        return;
      }
    }
    running = undefined;
    const best = await ready().finish();
    const stopped = run.stopping;
    emitAdapter((adapter) => ({ event: "finished", report: best, stopped, adapter }), await ready().export_adapter());
  } catch (error) {
    running = undefined;
    emit({ event: "failed", failure: describe(error) });
  }
}

function emitAdapter(event: (adapter: AdapterFiles) => Event, { config, model }: AdapterFiles): void {
  port.postMessage(event({ config, model }), [config.buffer as ArrayBuffer, model.buffer as ArrayBuffer]);
}

/** Passes on the first call, the last one, and of the others as many as a person can see. */
function throttled<Report extends (done: number, total: number, ...more: never[]) => void>(report: Report): Report {
  let last = -Infinity;
  return ((done, total, ...more) => {
    const now = performance.now();
    if (now - last < PROGRESS_INTERVAL_MS && done !== total) return;
    last = now;
    report(done, total, ...more);
  }) as Report;
}

function ready(): Engine {
  if (!engine) throw new Error("The engine has not been created.");
  return engine;
}

function send(reply: Reply): void {
  port.postMessage(reply);
}

function emit(event: Event): void {
  port.postMessage(event);
}

function describe(error: unknown): Failure {
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof WebAssembly.RuntimeError) return { kind: "Trap", message: trapped(message), fatal: true };
  const kind = error instanceof Error && "kind" in error ? String(error.kind) : "Internal";
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
