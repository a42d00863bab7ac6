/** The page's side of the worker: commands as promises, events as callbacks. */
import { trapped, type CommandName, type Commands, type Event, type Failure, type Reply } from "./protocol";

/** An error from the worker, with the engine's kind and its complete message. */
export class EngineError extends Error {
  readonly kind: string;
  readonly fatal: boolean;

  constructor({ kind, message, fatal }: Failure) {
    super(message);
    this.kind = kind;
    this.fatal = fatal;
  }
}

interface Waiting {
  resolve: (result: never) => void;
  reject: (error: EngineError) => void;
  onText: ((piece: string) => void) | undefined;
}

export interface Call<Result> extends Promise<Result> {
  /** Ends a download, a merging, or a text that is being generated. */
  cancel: () => void;
}

export class Client {
  private readonly worker: Worker;
  private readonly waiting = new Map<number, Waiting>();
  private nextId = 1;
  private dead: Failure | undefined;

  /** `onCrash` is called once, when the worker or its engine cannot be used any more. */
  constructor(
    private readonly onEvent: (event: Event) => void,
    private readonly onCrash: (failure: Failure) => void,
  ) {
    this.worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module", name: "postil" });
    this.worker.onmessage = ({ data }: MessageEvent<Reply | Event>) => this.receive(data);
    this.worker.onerror = (event) => {
      event.preventDefault();
      this.crash({
        kind: "Worker",
        message: event.message
          ? trapped(event.message)
          : "The part of the page that does the work could not be loaded. Check the network and reload the page.",
        fatal: true,
      });
    };
  }

  call<Name extends CommandName>(
    command: Name,
    args: Commands[Name]["args"],
    onText?: (piece: string) => void,
  ): Call<Commands[Name]["result"]> {
    const id = this.nextId++;
    const promise = new Promise<Commands[Name]["result"]>((resolve, reject) => {
      if (this.dead) {
        reject(new EngineError(this.dead));
        return;
      }
      this.waiting.set(id, { resolve: resolve as (result: never) => void, reject, onText });
      this.worker.postMessage({ id, command, args });
    });
    return Object.assign(promise, { cancel: () => this.worker.postMessage({ cancel: id }) });
  }

  /** Ends the worker and everything it holds on the GPU. */
  terminate(): void {
    this.worker.terminate();
  }

  private receive(message: Reply | Event): void {
    if ("event" in message) {
      if (message.event === "text") this.waiting.get(message.id)?.onText?.(message.piece);
      else this.onEvent(message);
      if (message.event === "failed" && message.failure.fatal) this.crash(message.failure);
      return;
    }
    const waiting = this.waiting.get(message.id);
    this.waiting.delete(message.id);
    if ("result" in message) {
      waiting?.resolve(message.result as never);
    } else {
      waiting?.reject(new EngineError(message.failure));
      if (message.failure.fatal) this.crash(message.failure);
    }
  }

  private crash(failure: Failure): void {
    if (this.dead) return;
    this.dead = failure;
    this.worker.terminate();
    for (const { reject } of this.waiting.values()) reject(new EngineError(failure));
    this.waiting.clear();
    this.onCrash(failure);
  }
}
