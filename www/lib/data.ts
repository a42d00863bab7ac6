/** Data in the forms in which a program has them. */
import { Client } from "./client";
import type { DataFile } from "./engine";
import { CancelledError, ConfigError, DataError, PostilError } from "./errors";

/**
 * A file as the engine reads it; a `File` of the user's; or records, which are read like the lines of a JSON Lines file
 * (`{ text }`, `{ prompt, completion }`, `{ messages }`, Alpaca's or ShareGPT's).
 */
export type DataInput = DataFile | File | readonly object[];

export async function toDataFile(input: DataInput): Promise<DataFile> {
  if (input instanceof File) return { name: input.name, data: new Uint8Array(await input.arrayBuffer()) };
  if (typeof input === "object" && input !== null && "data" in input && input.data instanceof Uint8Array) return input;
  if (!Array.isArray(input)) throw new ConfigError("Data is a File, { name, data } with data as a Uint8Array, or a list of records.");
  const lines = input.map((record) => `${JSON.stringify(record)}\n`);
  return { name: "records.jsonl", data: new TextEncoder().encode(lines.join("")) };
}

/** Files that the worker keeps at most while nobody uses them: a data set and its held-out data. */
const MOST_UNUSED = 2;

interface Kept {
  id: Promise<string>;
  users: number;
}

/** Data that the worker has: a file is sent, and tokenized, once, however often something is asked of it. */
export class Shelf {
  /** The one that was used last is the last. */
  private readonly kept = new Map<object, Kept>();
  private nextId = 1;

  constructor(
    private readonly client: Client,
    private readonly guard: Guard,
  ) {}

  /** Calls `act` with the data's ids, and keeps the data for as long as that takes. */
  async use<const Inputs extends readonly DataInput[], Result>(
    inputs: Inputs,
    act: (ids: { [Index in keyof Inputs]: string }) => Promise<Result>,
  ): Promise<Result> {
    const held = inputs.map((input) => this.hold(input));
    try {
      const ids = await Promise.all(held.map(({ id }) => id));
      return await act(ids as { [Index in keyof Inputs]: string });
    } finally {
      for (const kept of held) kept.users -= 1;
      this.dropOldest();
    }
  }

  private hold(input: DataInput): Kept {
    // A list may have grown since.
    const key = Array.isArray(input) ? {} : input;
    const kept = this.kept.get(key) ?? { id: this.send(input), users: 0 };
    kept.users += 1;
    this.kept.delete(key);
    this.kept.set(key, kept);
    // What could not be sent is tried again the next time.
    kept.id.catch(() => this.kept.get(key) === kept && this.kept.delete(key));
    return kept;
  }

  private async send(input: DataInput): Promise<string> {
    const file = await toDataFile(input);
    await this.guard.check(file);
    const id = `data ${this.nextId++}`;
    await this.client.call("put_data", { id, file });
    return id;
  }

  private dropOldest(): void {
    const unused = [...this.kept].filter(([, { users }]) => users === 0);
    for (const [key, { id }] of unused.slice(0, -MOST_UNUSED)) {
      this.kept.delete(key);
      // With a worker that is gone, so is the data.
      id.then((id) => this.client.call("drop_data", { id })).catch(() => {});
    }
  }
}

/** How Parquet begins: the crate that reads it panics on some damaged files, which WebAssembly cannot catch. */
const PARQUET = "PAR1";

/** Has files that may end an engine read by one that nobody needs. */
export class Guard {
  private readonly seen = new WeakMap<Uint8Array, Promise<void>>();

  constructor(
    private readonly worker: string | URL | undefined,
    private readonly wasm: string | undefined,
  ) {}

  /** Throws `DataError` for a file that must not be given to the engine. */
  async check(file: DataFile): Promise<void> {
    if (new TextDecoder().decode(file.data.subarray(0, PARQUET.length)) !== PARQUET) return;
    const known = this.seen.get(file.data) ?? this.probe(file);
    this.seen.set(file.data, known);
    await known;
  }

  private async probe(file: DataFile): Promise<void> {
    const client = new Client({ worker: this.worker });
    try {
      await client.call("check_data", { file, ...(this.wasm === undefined ? {} : { wasm: this.wasm }) });
    } catch (error) {
      if (error instanceof PostilError && error.kind === "Trap") {
        throw new DataError(`${file.name}: damaged Parquet, or too large for a browser; save the file again, or use the program postil.`);
      }
      this.seen.delete(file.data);
      const why = error instanceof Error ? error.message : String(error);
      throw new DataError(`${file.name} could not be checked (${why}); choose it again to try again.`);
    } finally {
      client.close(new CancelledError("The file has been checked."));
    }
  }
}
