/** A training run: its steps as they come, and what is done to it meanwhile. */
import { Channel } from "./channel";
import type { Client } from "./client";
import type { Checkpoint, CheckpointFiles, FinishReport, StartReport, StepReport } from "./engine";
import { CancelledError, ConfigError, toError, type PostilError } from "./errors";
import type { Commands, RunEvent as Message } from "./protocol";

/** What a run tells while it goes on. */
export type RunEvent = Exclude<Message, { failure: unknown }> | { event: "samples_failed" | "failed"; error: PostilError };

export interface RunEnd extends FinishReport {
  /** It was stopped before its last step. */
  stopped: boolean;
  /** The run's state, from which it can go on; the adapter's two files are among them. */
  files: CheckpointFiles;
}

/** Gives `start` its arguments, and holds what belongs to them until it is done. */
export type Begin = (start: (args: Commands["start"]["args"]) => Promise<StartReport>) => Promise<StartReport>;

export interface RunOptions {
  signal?: AbortSignal | undefined;
  onEvent?: ((event: RunEvent) => void) | undefined;
  /** Called before anybody else learns that the run is over. */
  onOver: () => void;
}

/** A promise that may be left alone: whoever does not ask is not told that it was rejected. */
function promise<T>(): { promise: Promise<T>; resolve: (value: T) => void; reject: (error: unknown) => void } {
  let resolve!: (value: T) => void;
  let reject!: (error: unknown) => void;
  const made = new Promise<T>((yes, no) => ([resolve, reject] = [yes, no]));
  made.catch(() => {});
  return { promise: made, resolve, reject };
}

/**
 * Goes on by itself. `for await (const step of run)` has every step's report and throws what ends the run; leaving the loop
 * stops the run. Every report waits until it is taken.
 */
export class Run implements AsyncIterable<StepReport> {
  /** Before the first step. */
  readonly started: Promise<StartReport>;
  /** The last step is done, or the run has been stopped; rejected with what ended it otherwise. */
  readonly finished: Promise<RunEnd>;
  private readonly end = promise<RunEnd>();
  private readonly steps = new Channel<StepReport>(async () => void (await this.stop()));
  private over = false;
  private stopping = false;
  private isSent = false;
  private isStarted = false;
  private paused: Checkpoint | undefined;
  private pauses: ((paused: Checkpoint | undefined) => void)[] = [];

  /** @internal Made by `Tuner.train`. */
  constructor(
    /** The id of its adapter, which stays when the run is over. */
    readonly adapter: string,
    private readonly client: Client,
    private readonly options: RunOptions,
    begin: Begin,
  ) {
    this.finished = this.end.promise;
    this.started = this.start(begin);
    this.started.catch(() => {});
    options.signal?.addEventListener("abort", this.abort);
  }

  /** Holds the run after the step in progress; nothing is given if it is over before that. */
  async pause(): Promise<Checkpoint | undefined> {
    if (this.paused || this.over) return this.paused;
    const paused = this.nextPause();
    if (!this.isStarted) await this.started.catch(() => {});
    // A worker that is gone ends the run, and with it the wait.
    if (!this.over) await this.client.call("pause", {}).catch(() => {});
    return await paused;
  }

  /** Ends a pause. */
  resume(): void {
    this.goOn({});
  }

  /** Makes so many steps of a paused run and holds it again; nothing is given if it is over before that. */
  async step(steps = 1): Promise<Checkpoint | undefined> {
    if (!(Number.isInteger(steps) && steps >= 1)) throw new ConfigError(`steps is a whole number from 1 on, not ${steps}.`);
    this.goOn({ steps });
    return await this.nextPause();
  }

  /** Ends the run after the step in progress; resolves when it is over, however it ended. Its adapter stays. */
  async stop(): Promise<void> {
    if (!this.over && !this.stopping) {
      this.stopping = true;
      // One that has not been sent yet is not sent any more.
      if (this.isSent) await this.client.call("stop", {}).catch(() => {});
    }
    await this.finished.catch(() => {});
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<StepReport> {
    return this.steps;
  }

  /** @internal From the worker, by way of the tuner. */
  receive(message: Message): void {
    switch (message.event) {
      case "step":
        this.steps.put(message.report);
        break;
      case "paused":
        this.paused = { step: message.step, files: message.files };
        for (const resolve of this.pauses.splice(0)) resolve(this.paused);
        break;
      case "finished": {
        const { report, stopped, files } = message;
        const { signal } = this.options;
        if (stopped && signal?.aborted) this.fail(signal.reason);
        else this.settle(() => this.end.resolve({ ...report, stopped, files }));
        break;
      }
      case "failed":
      case "samples_failed": {
        const error = toError(message.failure);
        if (message.event === "failed") this.fail(error);
        this.options.onEvent?.({ event: message.event, error });
        return;
      }
    }
    this.options.onEvent?.(message);
  }

  /** @internal The run is over, and this is why. */
  fail(error: unknown): void {
    this.settle(() => this.end.reject(error), { error });
  }

  private async start(begin: Begin): Promise<StartReport> {
    const { signal } = this.options;
    try {
      const report = await begin(async (args) => {
        signal?.throwIfAborted();
        if (this.stopping) throw new CancelledError("The run was stopped before it began.");
        this.isSent = true;
        return await this.client.call("start", args);
      });
      this.isStarted = true;
      // Asked for while the worker was at it.
      if (this.stopping) await this.client.call("stop", {});
      return report;
    } catch (error) {
      const reason = signal?.aborted ? signal.reason : error;
      this.fail(reason);
      throw reason;
    }
  }

  private goOn(args: Commands["go_on"]["args"]): void {
    if (!this.paused) throw new ConfigError("The run is not paused.");
    this.paused = undefined;
    // A worker that is gone ends the run by itself.
    this.client.call("go_on", args).catch(() => {});
  }

  private nextPause(): Promise<Checkpoint | undefined> {
    return new Promise((resolve) => {
      if (this.over) resolve(undefined);
      else this.pauses.push(resolve);
    });
  }

  private readonly abort = () => void this.stop();

  private settle(settle: () => void, failure?: { error: unknown }): void {
    if (this.over) return;
    this.over = true;
    this.paused = undefined;
    this.options.signal?.removeEventListener("abort", this.abort);
    this.options.onOver();
    settle();
    this.steps.end(failure);
    for (const resolve of this.pauses.splice(0)) resolve(undefined);
  }
}
