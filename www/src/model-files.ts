/** Where a model's files come from: beside the page, or from the user's disk. */
import type { ModelFiles } from "postil-engine";
import type { ModelSource } from "./protocol";

type Progress = (done: number, total: number) => void;

export async function readModel(source: ModelSource, onProgress: Progress): Promise<ModelFiles> {
  if (!("base" in source)) {
    const files: ModelFiles = {
      name: source.name,
      config: await bytes(source.config),
      weights: source.weights,
      tokenizer: await bytes(source.tokenizer),
    };
    if (source.tokenizer_config) files.tokenizer_config = await bytes(source.tokenizer_config);
    if (source.chat_template) files.chat_template = await source.chat_template.text();
    return files;
  }
  const [config, tokenizer, tokenizer_config, weights] = await Promise.all([
    download(new URL("config.json", source.base)).then(bytes),
    download(new URL("tokenizer.json", source.base)).then(bytes),
    download(new URL("tokenizer_config.json", source.base)).then(bytes),
    download(new URL("model.safetensors", source.base), onProgress),
  ]);
  return { name: source.name, config, weights, tokenizer, tokenizer_config };
}

async function bytes(blob: Blob): Promise<Uint8Array> {
  return new Uint8Array(await blob.arrayBuffer());
}

/** A file from beside the page, with its progress where the server says how long it is. */
export async function download(url: URL, onProgress?: Progress): Promise<Blob> {
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
