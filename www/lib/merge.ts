/** The loaded model with an adapter merged into it, written in the worker: a folder on the user's disk, or a zip. */
import { Zip, ZipPassThrough } from "fflate";
import type { AdapterFiles, Engine, ModelFiles } from "./engine";
import { CancelledError, ConfigError, IoError } from "./errors";
import { INDEX, textsOf } from "./assemble";
import { StorageFull, writeAll } from "./hub/cache";

type Sink = (piece: Uint8Array<ArrayBuffer>) => void | Promise<void>;

/** A file that is made anew, piece by piece, as often as it is asked for. */
interface Part {
  name: string;
  bytes: number;
  write(sink: Sink): Promise<void>;
}

export interface MergeListener {
  signal: AbortSignal;
  onProgress: (stage: "writing" | "checking", done: number, total: number) => void;
}

/** In the browser's own file system, a folder for each worker that has merged: of no use any more when that has ended. */
const FOLDER = "merged";

const own = crypto.randomUUID();
const lockOf = (id: string) => `postil-merged/${id}`;

// Held as long as this worker lives.
void navigator.locks.request(lockOf(own), () => new Promise(() => {}));

/** All workers' folders. */
const places = async () => await (await navigator.storage.getDirectory()).getDirectoryHandle(FOLDER, { create: true });

/** What a zip can hold without its extension for more. */
const MAX_ZIP_BYTES = 2 ** 32 - 2 ** 20;

function partsOf(engine: Engine, model: ModelFiles, { config, model: weights }: AdapterFiles): Part[] {
  const merged = engine.merged_files(config, weights);
  const texts = textsOf(model).filter(([name]) => name !== INDEX);
  const small = [...texts, ...(merged.index ? [[INDEX, merged.index] as const] : [])];
  return [
    ...small.map(([name, bytes]) => ({ name, bytes: bytes.length, write: async (sink: Sink) => await sink(bytes.slice()) })),
    ...merged.weights.map(({ name, bytes }, file) => ({
      name,
      bytes,
      write: async (sink: Sink) => await engine.merge(config, weights, file, sink),
    })),
  ];
}

/** Writes a new folder `name` in `parent`, and compares what is then on the disk with what was to be written. */
export async function mergeToFolder(
  engine: Engine,
  model: ModelFiles,
  adapter: AdapterFiles,
  parent: FileSystemDirectoryHandle,
  name: string,
  listener: MergeListener,
): Promise<void> {
  const parts = partsOf(engine, model, adapter);
  const folder = await newFolder(parent, name);
  try {
    const writing = counted("writing", parts, listener);
    for (const part of parts) {
      const stream = await (await folder.getFileHandle(part.name, { create: true })).createWritable();
      try {
        await part.write(async (piece) => {
          writing(piece);
          await stream.write(piece);
        });
      } catch (error) {
        await stream.abort().catch(() => {});
        throw error;
      }
      await stream.close();
    }
    const checking = counted("checking", parts, listener);
    for (const part of parts) {
      await compare(part, await (await folder.getFileHandle(part.name)).getFile(), checking);
    }
  } catch (error) {
    await parent.removeEntry(name, { recursive: true }).catch(() => {});
    throw listener.signal.aborted ? new CancelledError("Merging was cancelled.") : error;
  }
}

/** Does not touch a folder that has something in it: it may be a model that cannot be had again. */
async function newFolder(parent: FileSystemDirectoryHandle, name: string): Promise<FileSystemDirectoryHandle> {
  const folder = await parent.getDirectoryHandle(name, { create: true });
  for await (const _ of folder.keys()) {
    throw new ConfigError(`There is a folder ${name} with files in it already. Remove it, or choose another place.`);
  }
  return folder;
}

/** Writes a zip of the folder into the browser's own file system, and compares likewise. */
export async function mergeToZip(
  engine: Engine,
  model: ModelFiles,
  adapter: AdapterFiles,
  name: string,
  listener: MergeListener,
): Promise<File> {
  const parts = partsOf(engine, model, adapter);
  const total = parts.reduce((sum, { bytes }) => sum + bytes, 0);
  if (total > MAX_ZIP_BYTES) {
    throw new IoError("The merged model is larger than the 4 GiB that a zip can hold. A browser that can write into a folder, such as Chrome, has no such limit.");
  }
  const all = await places();
  await all.removeEntry(own, { recursive: true }).catch(() => {});
  const folder = await all.getDirectoryHandle(own, { create: true });
  try {
    const handle = await folder.getFileHandle(`${name}.zip`, { create: true });
    const writer = await handle.createSyncAccessHandle();
    // A zip has the time in it, and the second one is to be the same.
    const now = new Date();
    try {
      const writing = counted("writing", parts, listener);
      let at = 0;
      await zip(parts, name, now, writing, (piece) => {
        writeAll(writer, piece, at);
        at += piece.length;
      });
      writer.flush();
    } finally {
      writer.close();
    }
    const file = await handle.getFile();
    const checking = counted("checking", parts, listener);
    await compare({ name: file.name, bytes: file.size, write: (sink) => zip(parts, name, now, checking, sink) }, file);
    return file;
  } catch (error) {
    await folder.removeEntry(`${name}.zip`).catch(() => {});
    if (listener.signal.aborted) throw new CancelledError("Merging was cancelled.");
    if (error instanceof StorageFull) throw new IoError(`There is no room for the merged model in this browser: ${error.message}.`);
    throw error;
  }
}

/** Frees what merged models of workers that have ended take in the browser's own file system. */
export async function forgetMerged(): Promise<void> {
  try {
    const all = await places();
    const { held = [] } = await navigator.locks.query();
    const alive = new Set(held.map(({ name }) => name));
    for await (const id of all.keys()) {
      if (!alive.has(lockOf(id))) await all.removeEntry(id, { recursive: true });
    }
  } catch {
    // There is no such file system, or another worker is at it, too.
  }
}

async function zip(parts: readonly Part[], folder: string, mtime: Date, count: (piece: Uint8Array) => void, sink: Sink): Promise<void> {
  const ready: Uint8Array<ArrayBuffer>[] = [];
  const archive = new Zip((error, piece) => {
    if (error) throw error;
    ready.push(piece);
  });
  const flush = async () => {
    for (const piece of ready.splice(0)) await sink(piece);
  };
  for (const part of parts) {
    const entry = Object.assign(new ZipPassThrough(`${folder}/${part.name}`), { mtime });
    archive.add(entry);
    await part.write(async (piece) => {
      count(piece);
      entry.push(piece);
      await flush();
    });
    entry.push(new Uint8Array(), true);
  }
  archive.end();
  await flush();
}

/** Throws unless `file` is what `part` writes. */
async function compare(part: Part, file: File, count?: (piece: Uint8Array) => void): Promise<void> {
  const differs = () => new IoError(`${part.name} is not on the disk as it was written. It must not be used; is the disk full?`);
  let at = 0;
  await part.write(async (piece) => {
    count?.(piece);
    const found = new Uint8Array(await file.slice(at, at + piece.length).arrayBuffer());
    if (!isSame(found, piece)) throw differs();
    at += piece.length;
  });
  if (at !== file.size) throw differs();
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  // A loop: `every` takes many times as long, and models are large.
  for (let i = 0; i < b.length; i++) if (a[i] !== b[i]) return false;
  return a.length === b.length;
}

/** Counts pieces of all parts, and ends the work when it is cancelled. */
function counted(stage: "writing" | "checking", parts: readonly Part[], { signal, onProgress }: MergeListener): (piece: Uint8Array) => void {
  const total = parts.reduce((sum, { bytes }) => sum + bytes, 0);
  let done = 0;
  onProgress(stage, 0, total);
  return (piece) => {
    if (signal.aborted) throw new CancelledError("Merging was cancelled.");
    done += piece.length;
    onProgress(stage, done, total);
  };
}
