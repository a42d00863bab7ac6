/** The page's side of the worker: commands as promises, events as callbacks. */
import { toError, trapped, type Failure, type PostilError } from "./errors";
import type { CallEvent, CommandName, Commands, Reply, RunEvent } from "./protocol";

interface Waiting {
  resolve: (result: never) => void;
  reject: (error: unknown) => void;
  listener: Listener;
}

interface Listener {
  /** Ends the command: its promise is rejected with the signal's reason as soon as the worker has let go of it. */
  signal?: AbortSignal | undefined;
  onEvent?: ((event: CallEvent) => void) | undefined;
}

export interface Call<Result> extends Promise<Result> {
  /** Ends a download, a merging, or a text that is being generated. */
  cancel: () => void;
}

export interface ClientOptions {
  /** The worker's script, where it does not lie beside this module. */
  worker?: string | URL | undefined;
  onRunEvent?: (event: RunEvent) => void;
  /** Called once, when the worker or its engine cannot be used any more. */
  onCrash?: (error: PostilError) => void;
}

export class Client {
  private readonly worker: Worker;
  private readonly waiting = new Map<number, Waiting>();
  private nextId = 1;
  private dead: PostilError | undefined;

  constructor(private readonly options: ClientOptions) {
    this.worker = openWorker(options.worker);
    this.worker.onmessage = ({ data }: MessageEvent<Reply | CallEvent | RunEvent>) => this.receive(data);
    this.worker.onerror = (event) => {
      event.preventDefault();
      this.crash({
        kind: "Worker",
        message: event.message
          ? trapped(event.message)
          : "The worker, which does the computing, could not be loaded. Check the network and reload the page.",
        fatal: true,
      });
    };
  }

  call<Name extends CommandName>(command: Name, args: Commands[Name]["args"], listener: Listener = {}): Call<Commands[Name]["result"]> {
    const id = this.nextId++;
    const cancel = () => this.worker.postMessage({ cancel: id });
    const { signal } = listener;
    const promise = new Promise<Commands[Name]["result"]>((resolve, reject) => {
      signal?.throwIfAborted();
      if (this.dead) throw this.dead;
      this.worker.postMessage({ id, command, args });
      this.waiting.set(id, { resolve: resolve as (result: never) => void, reject, listener });
    });
    signal?.addEventListener("abort", cancel);
    const over = () => signal?.removeEventListener("abort", cancel);
    void promise.then(over, over);
    return Object.assign(promise, { cancel });
  }

  /** Ends the worker and everything it holds on the GPU; what is still waiting fails with `reason`. */
  close(reason: PostilError): void {
    if (this.dead) return;
    this.dead = reason;
    this.worker.terminate();
    for (const { reject, listener } of this.waiting.values()) reject(listener.signal?.aborted ? listener.signal.reason : reason);
    this.waiting.clear();
  }

  private receive(message: Reply | CallEvent | RunEvent): void {
    if ("event" in message) {
      if ("id" in message) this.waiting.get(message.id)?.listener.onEvent?.(message);
      else this.options.onRunEvent?.(message);
      if (message.event === "failed" && message.failure.fatal) this.crash(message.failure);
      return;
    }
    const waiting = this.waiting.get(message.id);
    this.waiting.delete(message.id);
    if ("result" in message) {
      waiting?.resolve(message.result as never);
      return;
    }
    const { failure } = message;
    const signal = waiting?.listener.signal;
    waiting?.reject(signal?.aborted && failure.kind === "Cancelled" ? signal.reason : toError(failure));
    if (failure.fatal) this.crash(failure);
  }

  private crash(failure: Failure): void {
    if (this.dead) return;
    const error = toError(failure);
    this.close(error);
    this.options.onCrash?.(error);
  }
}

function openWorker(address: string | URL | undefined): Worker {
  if (address !== undefined) return new Worker(address, { type: "module", name: "postil" });
  // Written out: it is what bundlers look for.
  return new Worker(new URL("./worker.ts", import.meta.url), { type: "module", name: "postil" });
}
