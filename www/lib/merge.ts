/** The loaded model with an adapter merged into it, written in the worker: a folder on the user's disk, or a zip. */
import { Zip, ZipPassThrough } from "fflate";
import { assemble, INDEX, textsOf } from "./assemble";
import type { AdapterFiles, Engine, MergeCheck, ModelFiles } from "./engine";
import { CancelledError, ConfigError, IoError } from "./errors";
import { StorageFull, writeAll } from "./hub/cache";
import type { MergeStage } from "./protocol";

type Sink = (piece: Uint8Array<ArrayBuffer>) => void | Promise<void>;

/** A file that is made anew, piece by piece, as often as it is asked for. */
interface Part {
  name: string;
  bytes: number;
  isWeights: boolean;
  write(sink: Sink): Promise<void>;
}

/** What is to be written, and how that is checked and told. */
export interface Merge {
  engine: Engine;
  model: ModelFiles;
  adapter: AdapterFiles;
  /** Of the folder, or of the zip without `.zip`. */
  name: string;
  /** What both are asked when they are compared. */
  prompt: string;
  signal: AbortSignal;
  onProgress: (stage: MergeStage, done: number, total: number) => void;
}

/** In the browser's own file system, a folder for each worker that has merged: of no use any more when that has ended. */
const FOLDER = "merged";

const own = crypto.randomUUID();
const lockOf = (id: string) => `postil-merged/${id}`;

let held: Promise<void> | undefined;

/** Holds this worker's lock from the first merging on, as long as the worker lives: others leave its folder alone. */
const hold = () =>
  (held ??= new Promise<void>((resolve, reject) => {
    navigator.locks.request(lockOf(own), () => (resolve(), new Promise(() => {}))).catch(reject);
  }));

/** All workers' folders. */
const places = async () => await (await navigator.storage.getDirectory()).getDirectoryHandle(FOLDER, { create: true });

/** What a zip can hold without its extension for more. */
const MAX_ZIP_BYTES = 2 ** 32 - 2 ** 20;

function partsOf({ engine, model, adapter: { config, model: weights } }: Merge): Part[] {
  const merged = engine.merged_files(config, weights);
  const texts = textsOf(model).filter(([name]) => name !== INDEX);
  const small = [...texts, ...(merged.index ? [[INDEX, merged.index] as const] : [])];
  return [
    ...small.map(([name, bytes]) => ({ name, bytes: bytes.length, isWeights: false, write: async (sink: Sink) => await sink(bytes.slice()) })),
    ...merged.weights.map(({ name, bytes }, file) => ({
      name,
      bytes,
      isWeights: true,
      write: async (sink: Sink) => await engine.merge(config, weights, file, sink),
    })),
  ];
}

/** Writes a new folder in `parent`, and checks what is then on the disk. */
export async function mergeToFolder(merge: Merge, parent: FileSystemDirectoryHandle): Promise<MergeCheck> {
  const { name, signal } = merge;
  const parts = partsOf(merge);
  const folder = await newFolder(parent, name);
  try {
    const writing = counted("writing", parts, merge);
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
    const checking = counted("checking", parts, merge);
    const written = new Map<string, Blob>();
    for (const part of parts) {
      const file = await (await folder.getFileHandle(part.name)).getFile();
      await compare(part, file, checking);
      written.set(part.name, file);
    }
    return await compareLogits(merge, parts, written);
  } catch (error) {
    await parent.removeEntry(name, { recursive: true }).catch(() => {});
    throw signal.aborted ? new CancelledError("Merging was cancelled.") : error;
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

/** Writes a zip of the folder into the browser's own file system, and checks it likewise. */
export async function mergeToZip(merge: Merge): Promise<{ file: File; check: MergeCheck }> {
  const { name, signal } = merge;
  const parts = partsOf(merge);
  const total = parts.reduce((sum, { bytes }) => sum + bytes, 0);
  if (total > MAX_ZIP_BYTES) {
    throw new IoError("The merged model is larger than the 4 GiB that a zip can hold. A browser that can write into a folder, such as Chrome, has no such limit.");
  }
  await hold();
  const all = await places();
  await all.removeEntry(own, { recursive: true }).catch(() => {});
  const folder = await all.getDirectoryHandle(own, { create: true });
  try {
    const handle = await folder.getFileHandle(`${name}.zip`, { create: true });
    const writer = await handle.createSyncAccessHandle();
    // A zip has the time in it, and the second one is to be the same.
    const now = new Date();
    let starts: ReadonlyMap<string, number>;
    try {
      const writing = counted("writing", parts, merge);
      let at = 0;
      starts = await zip(parts, name, now, writing, (piece) => {
        writeAll(writer, piece, at);
        at += piece.length;
      });
      writer.flush();
    } finally {
      writer.close();
    }
    const file = await handle.getFile();
    const checking = counted("checking", parts, merge);
    await compare({ name: file.name, write: async (sink) => void (await zip(parts, name, now, checking, sink)) }, file);
    const written = new Map(parts.map((part) => {
      const start = starts.get(part.name) ?? 0;
      return [part.name, file.slice(start, start + part.bytes)];
    }));
    return { file, check: await compareLogits(merge, parts, written) };
  } catch (error) {
    await folder.removeEntry(`${name}.zip`).catch(() => {});
    if (signal.aborted) throw new CancelledError("Merging was cancelled.");
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

/** Writes a zip; gives where each part begins in it: they are stored as they are. */
async function zip(
  parts: readonly Part[],
  folder: string,
  mtime: Date,
  count: (piece: Uint8Array) => void,
  sink: Sink,
): Promise<ReadonlyMap<string, number>> {
  const ready: Uint8Array<ArrayBuffer>[] = [];
  const starts = new Map<string, number>();
  let written = 0;
  const archive = new Zip((error, piece) => {
    if (error) throw error;
    ready.push(piece);
    written += piece.length;
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
      // The last that it has written is the piece itself.
      if (!starts.has(part.name)) starts.set(part.name, written - piece.length);
      await flush();
    });
    entry.push(new Uint8Array(), true);
  }
  archive.end();
  await flush();
  return starts;
}

/** Has the written model loaded and asked; throws if it answers otherwise than the base with the adapter. */
async function compareLogits(merge: Merge, parts: readonly Part[], written: ReadonlyMap<string, Blob>): Promise<MergeCheck> {
  const { engine, model, adapter, name, prompt, signal, onProgress } = merge;
  const blobOf = (part: Part) => written.get(part.name) ?? new Blob();
  const small = parts.filter(({ isWeights }) => !isWeights);
  const texts = await Promise.all(small.map(async (part) => [part.name, new Uint8Array(await blobOf(part).arrayBuffer())] as const));
  const weights = parts.filter(({ isWeights }) => isWeights).map((part) => ({ name: part.name, blob: blobOf(part) }));
  const files = assemble(name, new Map(texts), weights, model.revision);
  const check = await engine.check_merged(files, adapter.config, adapter.model, prompt, (done, total) => onProgress("loading", done, total));
  if (signal.aborted) throw new CancelledError("Merging was cancelled.");
  // Not a number is a difference too.
  if ("max_difference" in check && !(check.max_difference <= check.allowed)) {
    throw new IoError(
      `The merged model, loaded again, gives other logits than the base with the adapter: by up to ${check.max_difference}, where rounding explains ${check.allowed}. It must not be used; please report it.`,
    );
  }
  return check;
}

/** Throws unless `file` is what `part` writes. */
async function compare(part: Pick<Part, "name" | "write">, file: File, count?: (piece: Uint8Array) => void): Promise<void> {
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
function counted(stage: MergeStage, parts: readonly Part[], { signal, onProgress }: Merge): (piece: Uint8Array) => void {
  const total = parts.reduce((sum, { bytes }) => sum + bytes, 0);
  let done = 0;
  onProgress(stage, 0, total);
  return (piece) => {
    if (signal.aborted) throw new CancelledError("Merging was cancelled.");
    done += piece.length;
    onProgress(stage, done, total);
  };
}
