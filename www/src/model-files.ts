/** Where a model's files come from: beside the page, the user's disk, the Hub. */
import type { ModelFiles } from "postil-engine";
import { assemble, REQUIRED, WEIGHTS } from "./assemble";
import { fromHub, fromStore, type Listener } from "./hub/model";
import type { ModelSource } from "./protocol";

export async function readModel(source: ModelSource, listener: Listener): Promise<ModelFiles> {
  if ("kept" in source) return await fromStore(source.kept);
  if ("hub" in source) return await fromHub(source.hub, source.token, listener);
  if ("base" in source) return await besidePage(source.name, source.base, listener);
  const texts = new Map<string, Uint8Array>();
  for (const [name, blob] of Object.entries(source.texts)) texts.set(name, await bytes(blob));
  return assemble(source.name, texts, source.weights);
}

async function besidePage(name: string, base: string, { onProgress }: Listener): Promise<ModelFiles> {
  const names = [...REQUIRED, "tokenizer_config.json"];
  const [blob, ...texts] = await Promise.all([
    download(new URL(WEIGHTS, base), onProgress),
    ...names.map(async (name) => [name, await bytes(await download(new URL(name, base)))] as const),
  ]);
  return assemble(name, new Map(texts), [{ name: WEIGHTS, blob }]);
}

async function bytes(blob: Blob): Promise<Uint8Array> {
  return new Uint8Array(await blob.arrayBuffer());
}

/** A file from beside the page, with its progress where the server says how long it is. */
export async function download(url: URL, onProgress?: Listener["onProgress"]): Promise<Blob> {
  const name = url.pathname.split("/").pop();
  let response: Response;
  try {
    response = await fetch(url);
  } catch {
    throw new Error(`${name} could not be downloaded: the connection failed. Check the network and try again.`);
  }
  if (!response.ok) {
    throw new Error(`${name} could not be downloaded: the server answered ${response.status} for ${url.href}.`);
  }
  // A compressed answer's length is not the length of what is read.
  const compressed = response.headers.has("Content-Encoding");
  const total = compressed ? 0 : Number(response.headers.get("Content-Length") ?? 0);
  if (!response.body || !onProgress) return await response.blob();
  const parts: Uint8Array<ArrayBuffer>[] = [];
  let done = 0;
  const reader = response.body.getReader();
  for (;;) {
    const { value, done: ended } = await reader.read();
    if (ended) break;
    parts.push(value);
    done += value.length;
    onProgress(done, total);
  }
  if (total > 0 && done !== total) {
    throw new Error(`${name} ended after ${done} of ${total} bytes. Reload the page to try again.`);
  }
  return new Blob(parts);
}
