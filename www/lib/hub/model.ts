/** A model's files from the Hub: out of the store, or into it and out of it, or, without room, straight from the Hub. */
import type { ModelFiles, NamedFile, RemoteFile } from "../engine";
import { DownloadError, PostilError } from "../errors";
import { assemble, INDEX, OPTIONAL, REQUIRED, shards, WEIGHTS } from "../assemble";
import { HubClient, Unreachable, type Sized } from "./client";
import { downloadFile, isQuota } from "./download";
import { StorageFull, Store, type StoredModel } from "./cache";
import type { HubModel } from "./name";

export interface Listener {
  signal: AbortSignal;
  onProgress: (done: number, total: number) => void;
  /** Something that a person should know. */
  onNotice: (text: string) => void;
  /** Throws if weights of so many bytes are too large for the GPU's memory. */
  checkSize: (bytes: number) => Promise<void>;
}

/** Downloads what the store lacks of a model. */
export async function fromHub(model: HubModel, token: string | undefined, listener: Listener): Promise<ModelFiles> {
  const store = await Store.open();
  const client = new HubClient(model, token, listener.signal);
  let revision;
  try {
    revision = await client.revision();
  } catch (error) {
    const kept = error instanceof Unreachable ? await store?.find(model) : undefined;
    if (!kept || !(await kept.isWhole())) throw error;
    listener.onNotice(`${error instanceof Error ? error.message : ""} The copy kept in this browser is used.`);
    return await filesOf(kept);
  }
  const { commit, files } = revision;
  const { small, weights } = choose(model, files);
  const texts = new Map<string, Uint8Array<ArrayBuffer>>();
  const stored = await store?.model(model, commit).catch(() => undefined);
  if (stored && small.every((name) => name in stored.manifest.files) && (await stored.isWhole())) {
    await store?.remember(stored, model.revision);
    return await filesOf(stored);
  }
  for (const name of small) texts.set(name, await client.bytes(commit, name));
  const index = texts.get(INDEX);
  const large = index ? shards(index) : weights;
  const sizes = new Map<string, Sized>();
  await Promise.all(large.map(async (name) => void sizes.set(name, await client.size(commit, name))));
  await listener.checkSize([...sizes.values()].reduce((sum, { size }) => sum + size, 0));

  if (stored && store) {
    const kept = await keep(store, stored, model, client, texts, sizes, listener);
    if (kept) return await filesOf(kept);
  } else {
    listener.onNotice("This browser keeps no files for this page, as in a private window: the model is not kept, and each visit downloads it again.");
  }
  for (const [name, { ranges }] of sizes) {
    if (!ranges) throw new DownloadError(`${name}: the server sends no parts of files, and there is no room to keep the whole.`);
  }
  const remote = [...sizes].map(([name, sized]) => remoteFile(client, commit, name, sized));
  return assemble(model.repo, texts, remote, model.revision);
}

/** The files of a model that is in the store; nothing is asked of the network. */
export async function fromStore(id: string): Promise<ModelFiles> {
  const store = await Store.open();
  const stored = (await store?.all())?.find((model) => model.id === id);
  if (!stored || !(await stored.isWhole())) {
    throw new DownloadError("This model is not whole in this browser any more. Load it by its name.");
  }
  return await filesOf(stored);
}

/** Downloads into the store. Nothing when there is no room: what was written is removed then. */
async function keep(
  store: Store,
  stored: StoredModel,
  model: HubModel,
  client: HubClient,
  texts: Map<string, Uint8Array<ArrayBuffer>>,
  sizes: Map<string, Sized>,
  { onProgress, onNotice }: Listener,
): Promise<StoredModel | undefined> {
  const total = [...sizes.values()].reduce((sum, { size }) => sum + size, 0);
  const { manifest } = stored;
  try {
    const { bytes } = await stored.describe();
    if (!(await store.hasRoom(total - bytes))) throw new StorageFull("the browser's quota is too small");
    for (const [name, text] of texts) {
      await stored.write(name, text);
      manifest.files[name] = { size: text.length };
    }
    await stored.save();
    let done = 0;
    for (const [name, sized] of sizes) {
      const report = (bytes: number) => onProgress((done += bytes), total);
      if (isThere(manifest.files[name], sized)) report(sized.size);
      else await downloadFile(client, stored, name, sized, report);
    }
    manifest.complete = true;
    if (!(await stored.isWhole())) throw new StorageFull("files are shorter than what was written");
    await store.remember(stored, model.revision);
    return stored;
  } catch (error) {
    if (error instanceof PostilError) throw error;
    const full = error instanceof StorageFull || isQuota(error);
    // Another tab that downloads the same model holds its files.
    const busy = error instanceof DOMException && error.name === "NoModificationAllowedError";
    if (!busy) await store.remove(stored.id).catch(() => {});
    const why = full ? "There is no room for it in this browser" : busy ? "Another tab is downloading it" : "This browser cannot keep it";
    onNotice(`${why}: the model is not kept, and is read from the Hub as it is needed.`);
    return undefined;
  }
}

function isThere(entry: { size: number; segments?: number[] } | undefined, { size }: Sized): boolean {
  return entry?.size === size && entry.segments === undefined;
}

/** The files that are needed, of those that there are. */
function choose(model: HubModel, files: string[]): { small: string[]; weights: string[] } {
  const has = (name: string) => files.includes(name);
  const lacks = (name: string) => new DownloadError(`${model.repo} has no ${name} at “${model.revision}”.`);
  if (model.file) {
    if (!has(model.file)) throw lacks(model.file);
    return { small: [], weights: [model.file] };
  }
  for (const name of REQUIRED) if (!has(name)) throw lacks(name);
  const small = [...REQUIRED, ...OPTIONAL.filter(has)];
  if (has(WEIGHTS)) return { small, weights: [WEIGHTS] };
  if (has(INDEX)) return { small: [...small, INDEX], weights: [] };
  throw lacks(`${WEIGHTS} and no ${INDEX}`);
}

async function filesOf(stored: StoredModel): Promise<ModelFiles> {
  const { manifest } = stored;
  const names = Object.keys(manifest.files);
  const texts = new Map<string, Uint8Array>();
  const isText = (name: string) => [...REQUIRED, ...OPTIONAL, INDEX].includes(name);
  for (const name of names.filter(isText)) {
    texts.set(name, new Uint8Array(await (await stored.file(name)).arrayBuffer()));
  }
  const large = names.filter((name) => !isText(name)).sort();
  const weights = large.map(async (name) => ({ name, blob: await stored.file(name) }));
  const { revisions, commit } = manifest;
  const revision = revisions.includes("main") ? "main" : (revisions[0] ?? commit);
  return assemble(manifest.repo, texts, await Promise.all(weights), revision);
}

/** A file that is read from the Hub whenever a part of it is needed. */
function remoteFile(client: HubClient, commit: string, name: string, sized: Sized): NamedFile {
  const blob: RemoteFile = {
    size: sized.size,
    async read(offset, length) {
      const bytes = new Uint8Array(length);
      await client.stream(commit, name, sized, [offset, offset + length], (at, piece) => bytes.set(piece, at - offset));
      return bytes;
    },
  };
  return { name, blob };
}
