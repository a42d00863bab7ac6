/** Where a model's files come from: a folder on a server, the user's disk, the Hub. */
import type { ModelFiles } from "./engine";
import { assemble, REQUIRED, WEIGHTS } from "./assemble";
import { fetchFile } from "./fetch-file";
import { fromHub, fromStore, type Listener } from "./hub/model";
import type { ModelSource } from "./protocol";

export async function readModel(source: ModelSource, listener: Listener): Promise<ModelFiles> {
  if ("kept" in source) return await fromStore(source.kept);
  if ("hub" in source) return await fromHub(source.hub, source.token, listener);
  if ("base" in source) return await fromServer(source.name, source.base, listener);
  const texts = new Map<string, Uint8Array>();
  for (const [name, blob] of Object.entries(source.texts)) texts.set(name, await bytes(blob));
  return assemble(source.name, texts, source.weights);
}

async function fromServer(name: string, base: string, { signal, onProgress }: Listener): Promise<ModelFiles> {
  const names = [...REQUIRED, "tokenizer_config.json"];
  const [blob, ...texts] = await Promise.all([
    fetchFile(new URL(WEIGHTS, base), { signal, onProgress }),
    ...names.map(async (name) => [name, await bytes(await fetchFile(new URL(name, base), { signal }))] as const),
  ]);
  return assemble(name, new Map(texts), [{ name: WEIGHTS, blob }]);
}

async function bytes(blob: Blob): Promise<Uint8Array> {
  return new Uint8Array(await blob.arrayBuffer());
}
