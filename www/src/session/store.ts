/** What outlives the tab: runs and their files, in IndexedDB. */
import { openDB, type DBSchema, type IDBPDatabase } from "idb";
import type { FileSet, KeptRun, Sweep } from "../state";

export type Files = Record<string, Uint8Array>;

interface Schema extends DBSchema {
  /** Small: what a list of runs shows, and the curves. */
  runs: { key: string; value: KeptRun };
  /** Large: by `run/set`. */
  files: { key: string; value: Files };
  /** The newest, by the key `last`. */
  sweeps: { key: string; value: Sweep };
}

const DATABASE = "postil";
/** Each version adds to the one before, so that what an older page has kept stays. */
const VERSION = 3;

let isAsked = false;

/** Asks the browser, once a visit, not to remove what is kept here and in the file system when it needs the space. */
export function askToPersist(): void {
  if (isAsked) return;
  isAsked = true;
  void navigator.storage?.persist?.().catch(() => false);
}

export class Store {
  private constructor(private readonly database: IDBPDatabase<Schema>) {}

  /** Fails where the browser keeps nothing, as in some private windows. */
  static async open(): Promise<Store> {
    const database = await openDB<Schema>(DATABASE, VERSION, {
      upgrade(database, before) {
        if (before < 2) {
          database.createObjectStore("runs", { keyPath: "id" });
          database.createObjectStore("files");
        }
        if (before < 3) database.createObjectStore("sweeps");
      },
      // Another tab brings a newer page: it must not wait for this one.
      blocking: (_, __, event) => (event.target as IDBDatabase).close(),
    });
    return new Store(database);
  }

  async lastSweep(): Promise<Sweep | undefined> {
    return await this.database.get("sweeps", "last");
  }

  async keepSweep(sweep: Sweep): Promise<void> {
    await this.database.put("sweeps", sweep, "last");
  }

  async list(): Promise<KeptRun[]> {
    return await this.database.getAll("runs");
  }

  async get(id: string): Promise<KeptRun | undefined> {
    return await this.database.get("runs", id);
  }

  async files(id: string, set: FileSet): Promise<Files | undefined> {
    return await this.database.get("files", `${id}/${set}`);
  }

  /** A new run and, together with it, its data. */
  async add(entry: KeptRun, data?: Files): Promise<void> {
    const transaction = this.database.transaction(["runs", "files"], "readwrite");
    await Promise.all([
      transaction.objectStore("runs").put(entry),
      data && transaction.objectStore("files").put(data, `${entry.id}/data`),
      transaction.done,
    ]);
  }

  /** Changes the run and sets of its files together, or nothing. A run that is not there (any more) stays away. */
  async update(id: string, change: Partial<KeptRun>, sets: Partial<Record<FileSet, Files>> = {}): Promise<void> {
    const transaction = this.database.transaction(["runs", "files"], "readwrite");
    const runs = transaction.objectStore("runs");
    const files = transaction.objectStore("files");
    const work = async () => {
      const entry = await runs.get(id);
      if (!entry) return;
      await Promise.all([
        runs.put({ ...entry, ...change }),
        ...Object.entries(sets).map(([set, content]) => files.put(content, `${id}/${set}`)),
      ]);
    };
    await Promise.all([work(), transaction.done]);
  }

  async remove(id: string): Promise<void> {
    const transaction = this.database.transaction(["runs", "files"], "readwrite");
    const files = transaction.objectStore("files");
    const range = IDBKeyRange.bound(`${id}/`, `${id}/\uffff`);
    await Promise.all([transaction.objectStore("runs").delete(id), files.delete(range), transaction.done]);
  }
}
