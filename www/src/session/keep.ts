/** The newest adapter, kept in this browser (IndexedDB) so that a tab that dies loses little. Without storage the page goes on. */
import { keptAdapter, type KeptAdapter } from "../state";

const DATABASE = "postil";
const STORE = "adapters";
const KEY = "newest";

function open(): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error("no storage"));
  });
}

async function transact<T>(mode: IDBTransactionMode, act: (store: IDBObjectStore) => IDBRequest<T>): Promise<T> {
  const database = await open();
  try {
    return await new Promise<T>((resolve, reject) => {
      const transaction = database.transaction(STORE, mode);
      const request = act(transaction.objectStore(STORE));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error ?? new Error("no storage"));
    });
  } finally {
    database.close();
  }
}

/** Looks for what an earlier visit left. */
export async function findKept(): Promise<void> {
  const found = await transact("readonly", (store) => store.get(KEY) as IDBRequest<KeptAdapter | undefined>).catch(
    () => undefined,
  );
  if (found) keptAdapter.value = found;
}

export async function keepAdapter(adapter: KeptAdapter): Promise<void> {
  await transact("readwrite", (store) => store.put(adapter, KEY)).catch(() => {});
}

export async function forgetKept(): Promise<void> {
  await transact("readwrite", (store) => store.delete(KEY)).catch(() => {});
  keptAdapter.value = undefined;
}
