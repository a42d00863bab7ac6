/** Models in the forms in which a program or a person names them. */
import { INDEX, OPTIONAL, REQUIRED, shards, WEIGHTS } from "./assemble";
import { ConfigError, FormatError } from "./errors";
import { parseAddress, parseName } from "./hub/name";
import type { ModelSource } from "./protocol";

/**
 * `"built-in"`, the small model that comes with the package; a name on the Hub: `owner/name`, with `@revision` for another
 * branch, or `owner/name/file.gguf`; the files of one model; or any source in full.
 */
export type ModelInput = "built-in" | (string & {}) | readonly File[] | ModelSource;

export const HUB = "https://huggingface.co";

export interface HubOptions {
  /** Another Hub's address. */
  hubAddress?: string | undefined;
  /** An access token of that Hub, for gated and private models. It is sent there and written nowhere. */
  token?: string | undefined;
}

/** Not written as one expression with `new URL`: the files are asked for by address, and no bundler's business. */
const here = import.meta.url;

/** The built-in model: beside this module, or in the folder at `address`. */
export function fromFolder(address: string | URL = new URL("demo/", here), name = "Story model, built in"): ModelSource {
  // Seen from the page, not from the worker.
  const base = new URL(address, globalThis.document?.baseURI).href;
  return { name, base: base.endsWith("/") ? base : `${base}/` };
}

/** A model by its name on a Hub; a copy that this browser keeps is used instead of downloading it again. */
export function fromHub(name: string, { hubAddress = HUB, token = "" }: HubOptions = {}): ModelSource {
  const address = parseAddress(hubAddress);
  if (!address) throw new ConfigError("The Hub’s address is no address of the web, such as https://huggingface.co.");
  const model = parseName(name);
  if (!model) throw new ConfigError("Write the name as owner/name, with @revision for another branch, or as owner/name/file.gguf.");
  return { name: name.trim(), hub: { address, ...model }, ...(token.trim() === "" ? {} : { token: token.trim() }) };
}

/** What files that were chosen or dropped together are; `FormatError` says what is missing among them. */
export async function fromFiles(chosen: readonly File[]): Promise<ModelSource> {
  // Of a folder only what lies in it directly: checkpoints in folders below have files of the same names.
  const files = new Map(chosen.filter(isOnTop).map((file) => [file.name, file]));
  const gguf = [...files.keys()].filter((name) => /\.gguf$/i.test(name));
  const [only] = files.values();
  // Ollama’s files have digests for names.
  if (gguf.length === 0 && files.size === 1 && only && (await isGguf(only))) gguf.push(only.name);
  const named = (names: string[]) => names.flatMap((name) => files.get(name) ?? []);
  const weights = (names: string[]) => named(names).map((blob) => ({ name: blob.name, blob }));
  if (gguf.length > 1) throw new FormatError("Choose one .gguf file, not several.");
  if (gguf.length === 1) return { name: gguf.join(), texts: {}, weights: weights(gguf) };

  const index = files.has(WEIGHTS) ? undefined : files.get(INDEX);
  const wanted = index ? shards(new Uint8Array(await index.arrayBuffer())) : [WEIGHTS];
  const missing = [...REQUIRED, ...wanted].filter((name) => !files.has(name));
  if (missing.length > 0) throw new FormatError(`Missing: ${missing.join(", ")}. Choose the files of one model together.`);
  const texts = named([...REQUIRED, ...OPTIONAL, ...(index ? [INDEX] : [])]);
  return {
    name: folderName(chosen) ?? "Your model",
    texts: Object.fromEntries(texts.map((file) => [file.name, file])),
    weights: weights(wanted),
  };
}

export async function toSource(model: ModelInput, options: HubOptions): Promise<ModelSource> {
  if (model === "built-in") return fromFolder();
  if (typeof model === "string") return fromHub(model, options);
  if (Array.isArray(model)) return await fromFiles(model as readonly File[]);
  const source = model as ModelSource;
  return "base" in source ? fromFolder(source.base, source.name) : source;
}

/** Whether it begins as GGUF files do. */
const isGguf = async (file: File) => (await file.slice(0, 4).text()) === "GGUF";

const isOnTop = (file: File) => file.webkitRelativePath.split("/").length <= 2;

function folderName(files: readonly File[]): string | undefined {
  return files[0]?.webkitRelativePath.split("/")[0] || undefined;
}
