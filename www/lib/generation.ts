/** A text that is being written. */
import { Channel } from "./channel";
import type { Call } from "./client";
import type { GenerateReport } from "./engine";
import { PostilError } from "./errors";

/** Begins the command; pieces of the text go to `onText`. */
type Begin = (onText: (piece: string) => void) => Call<GenerateReport>;

const NOTHING: GenerateReport = { text: "", tokens: 0, prompt_tokens: 0, tokens_per_second: 0, stopped: "caller" };

/** Pieces of the text, as they are written: `for await (const piece of generation)`. Leaving the loop stops the text. */
export class Generation implements AsyncIterable<string> {
  /** The whole text and what is to be said about it, when it is done or stopped. */
  readonly report: Promise<GenerateReport>;
  private readonly pieces = new Channel<string>(async () => {
    this.stop();
    await this.report.catch(() => {});
  });
  private readonly call: Call<GenerateReport>;
  private stopped = false;

  /** @internal Made by `Tuner.generate`. */
  constructor(begin: Begin, signal: AbortSignal | undefined) {
    this.call = begin((piece) => this.pieces.put(piece));
    this.report = this.call.then(
      (report) => {
        if (report.stopped === "caller") signal?.throwIfAborted();
        return report;
      },
      (error: unknown) => {
        // Stopped before its turn came.
        if (this.stopped && error instanceof PostilError && error.kind === "Cancelled" && !error.fatal) return NOTHING;
        throw error;
      },
    );
    this.report.then(
      () => this.pieces.end(),
      (error: unknown) => this.pieces.end({ error }),
    );
  }

  /** Ends the text where it is; `report` has it, with `stopped: "caller"`. */
  stop(): void {
    this.stopped = true;
    this.call.cancel();
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<string> {
    return this.pieces;
  }
}
