/**
 * Downloaded models in the browser's own file system (OPFS): a folder for each commit of a repository, with its files
 * and `MANIFEST`, which says what of them is there.
 *
 * Runs in the worker: only there are files written in place. Reading gives `File`s, which are read in slices like
 * files from the user's disk.
 */
import type { KeptModel } from "../protocol";
import { parseName, type HubModel } from "./name";

const FOLDER = "hub";
const MANIFEST = "manifest.json";

/** A file's length and, while it is being downloaded, which of its segments are there. */
export interface Entry {
  size: number;
  segments?: number[];
}

export interface Manifest {
  address: string;
  repo: string;
  /** Branches and tags that stood for this commit when they were last asked about. */
  revisions: string[];
  commit: string;
  /** The `.gguf` file that was asked for, if it was one. */
  file?: string;
  files: Record<string, Entry>;
  /** Every file is there and has its length. */
  complete: boolean;
}

/** There is no room for what shall be kept. */
export class StorageFull extends Error {}

export class Store {
  private constructor(private readonly folder: FileSystemDirectoryHandle) {}

  /** The store, or nothing where the browser has no such file system, as in some private windows. */
  static async open(): Promise<Store | undefined> {
    try {
      const root = await navigator.storage.getDirectory();
      return new Store(await root.getDirectoryHandle(FOLDER, { create: true }));
    } catch {
      return undefined;
    }
  }

  /** Whether the browser expects room for `bytes` more. */
  async hasRoom(bytes: number): Promise<boolean> {
    const { quota, usage } = await navigator.storage.estimate().catch(() => ({ quota: undefined, usage: undefined }));
    return quota === undefined || usage === undefined || quota - usage >= bytes;
  }

  /** The folder of a commit; an empty one is made with `fresh`. */
  async model(model: HubModel, commit: string): Promise<StoredModel> {
    const id = encodeURIComponent([model.address, model.repo, commit, ...(model.file ? [model.file] : [])].join(" "));
    const fresh: Manifest = {
      address: model.address,
      repo: model.repo,
      revisions: [],
      commit,
      ...(model.file ? { file: model.file } : {}),
      files: {},
      complete: false,
    };
    const folder = await this.folder.getDirectoryHandle(id, { create: true });
    return new StoredModel(id, folder, (await readManifest(folder)) ?? fresh);
  }

  /** All models, also those whose download was not finished. */
  async all(): Promise<StoredModel[]> {
    const found: StoredModel[] = [];
    for await (const [id, handle] of this.folder.entries()) {
      if (handle.kind !== "directory") continue;
      const folder = handle as FileSystemDirectoryHandle;
      const manifest = await readManifest(folder);
      if (manifest) found.push(new StoredModel(id, folder, manifest));
      // Without a manifest nobody knows what it is.
      else await this.remove(id).catch(() => {});
    }
    return found;
  }

  async list(): Promise<KeptModel[]> {
    const models = await Promise.all((await this.all()).map((model) => model.describe()));
    return models.sort((a, b) => a.name.localeCompare(b.name));
  }

  async remove(id: string): Promise<void> {
    await this.folder.removeEntry(id, { recursive: true });
  }

  /** The complete copy of what a revision stood for when it was last asked about. */
  async find(model: HubModel): Promise<StoredModel | undefined> {
    const isIt = ({ manifest }: StoredModel) =>
      manifest.complete && isOf(manifest, model) && (manifest.commit === model.revision || manifest.revisions.includes(model.revision));
    return (await this.all()).find(isIt);
  }

  /** Notes that a revision stands for this copy's commit, and for no other one any more. */
  async remember(stored: StoredModel, revision: string): Promise<void> {
    const { manifest } = stored;
    const others = (await this.all()).filter(({ id, manifest: other }) => id !== stored.id && isOf(other, manifest));
    manifest.revisions = [...new Set([...manifest.revisions, revision])];
    const stale = others.filter(({ manifest }) => manifest.revisions.includes(revision));
    for (const { manifest } of stale) manifest.revisions = manifest.revisions.filter((name) => name !== revision);
    // Without a note the model is merely not found while the Hub cannot be reached.
    for (const copy of [stored, ...stale]) await copy.save().catch(() => {});
  }
}

const isOf = (manifest: Manifest, { address, repo, file }: Pick<HubModel, "address" | "repo" | "file">): boolean =>
  address === manifest.address && repo === manifest.repo && file === manifest.file;

export class StoredModel {
  constructor(
    readonly id: string,
    private readonly folder: FileSystemDirectoryHandle,
    readonly manifest: Manifest,
  ) {}

  async describe(): Promise<KeptModel> {
    const { address, repo, file, revisions, commit, complete } = this.manifest;
    const revision = revisions.includes("main") ? undefined : (revisions[0] ?? commit);
    const name = [repo, ...(file ? [file] : [])].join("/") + (revision ? `@${revision}` : "");
    let bytes = 0;
    for await (const handle of this.folder.values()) {
      if (handle.kind === "file") bytes += (await (handle as FileSystemFileHandle).getFile()).size;
    }
    return { id: this.id, address, name, commit, bytes, complete };
  }

  /** A file for reading. */
  async file(name: string): Promise<File> {
    const handle = await this.folder.getFileHandle(encodeURIComponent(name));
    return await handle.getFile();
  }

  /** A file for writing in place; one writer at a time, also across tabs. */
  async writer(name: string): Promise<FileSystemSyncAccessHandle> {
    const handle = await this.folder.getFileHandle(encodeURIComponent(name), { create: true });
    return await handle.createSyncAccessHandle();
  }

  async write(name: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    const writer = await this.writer(name);
    try {
      replace(writer, bytes);
    } finally {
      writer.close();
    }
  }

  /** The manifest, to be written down as often as it changes until it is closed. */
  async record(): Promise<{ save: () => void; close: () => void }> {
    const writer = await this.writer(MANIFEST);
    const save = () => replace(writer, new TextEncoder().encode(JSON.stringify(this.manifest)));
    return { save, close: () => writer.close() };
  }

  /** Writes down what is there. */
  async save(): Promise<void> {
    const { save, close } = await this.record();
    try {
      save();
    } finally {
      close();
    }
  }

  /** Whether every file has its length: a browser that was short of space may have taken some. */
  async isWhole(): Promise<boolean> {
    const sizes = Object.entries(this.manifest.files).map(async ([name, { size }]) => (await this.file(name)).size === size);
    return this.manifest.complete && (await Promise.all(sizes).catch(() => [false])).every(Boolean);
  }
}

function replace(writer: FileSystemSyncAccessHandle, bytes: Uint8Array<ArrayBuffer>): void {
  writer.truncate(0);
  writeAll(writer, bytes, 0);
  writer.flush();
}

/** A full disk may cut a write short, or count nonsense, without an error. */
export function writeAll(writer: FileSystemSyncAccessHandle, bytes: Uint8Array<ArrayBuffer>, at: number): void {
  let written: number;
  try {
    written = writer.write(bytes, { at });
  } catch (error) {
    throw new StorageFull(String(error));
  }
  if (written !== bytes.length) throw new StorageFull(`${written} of ${bytes.length} bytes were written`);
}

async function readManifest(folder: FileSystemDirectoryHandle): Promise<Manifest | undefined> {
  try {
    const handle = await folder.getFileHandle(MANIFEST);
    const manifest = JSON.parse(await (await handle.getFile()).text()) as Manifest;
    // Written by an older page, or half written: as good as none.
    const known = parseName(manifest.repo) && Array.isArray(manifest.revisions) && typeof manifest.files === "object";
    return known ? manifest : undefined;
  } catch {
    return undefined;
  }
}
