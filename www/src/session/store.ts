/** What outlives the tab: runs and their files, in IndexedDB. Where the browser refuses storage, nothing is kept. */
import { openDB, type DBSchema, type IDBPDatabase } from "idb";

/** Every file of a run is kept under one of these names. */
export type FileSet = "checkpoint" | "best" | "data";

export type Files = Record<string, Uint8Array>;

interface Schema<Entry extends { id: string }> extends DBSchema {
  /** Small: what a list of runs shows, and the curves. */
  runs: { key: string; value: Entry };
  /** Large: by `run/set`. */
  files: { key: string; value: Files };
}

const DATABASE = "postil";
const VERSION = 2;

/** Runs of one shape of entry. */
export class Store<Entry extends { id: string }> {
  private constructor(private readonly database: IDBPDatabase<Schema<Entry>>) {}

  /** `undefined` where the browser keeps nothing, as some private windows. */
  static async open<Entry extends { id: string }>(): Promise<Store<Entry> | undefined> {
    try {
      const database = await openDB<Schema<Entry>>(DATABASE, VERSION, {
        upgrade(database) {
          for (const name of [...database.objectStoreNames]) database.deleteObjectStore(name);
          database.createObjectStore("runs", { keyPath: "id" });
          database.createObjectStore("files");
        },
        // Another tab brings a newer page: it must not wait for this one.
        blocking: (_, __, event) => (event.target as IDBDatabase).close(),
      });
      return new Store(database);
    } catch {
      return undefined;
    }
  }

  async list(): Promise<Entry[]> {
    return await this.database.getAll("runs");
  }

  async put(entry: Entry): Promise<void> {
    await this.database.put("runs", entry);
  }

  async files(id: string, set: FileSet): Promise<Files | undefined> {
    return await this.database.get("files", `${id}/${set}`);
  }

  /** The entry and its files are replaced together, or not at all. */
  async save(entry: Entry, set: FileSet, files: Files): Promise<void> {
    const transaction = this.database.transaction(["runs", "files"], "readwrite");
    await Promise.all([
      transaction.objectStore("runs").put(entry),
      transaction.objectStore("files").put(files, `${entry.id}/${set}`),
      transaction.done,
    ]);
  }

  async remove(id: string): Promise<void> {
    const transaction = this.database.transaction(["runs", "files"], "readwrite");
    const files = transaction.objectStore("files");
    const range = IDBKeyRange.bound(`${id}/`, `${id}/\uffff`);
    await Promise.all([transaction.objectStore("runs").delete(id), files.delete(range), transaction.done]);
  }
}
