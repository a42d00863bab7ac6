/** Choosing another model: by its name on the Hub, from those kept in this browser, or from the user's disk. */
import type { KeptModel } from "../hub/cache";
import { parseAddress, parseName } from "../hub/name";
import { INDEX, OPTIONAL, REQUIRED, shards, WEIGHTS } from "../assemble";
import type { ModelSource } from "../protocol";
import { hubAddress, hubToken, keptModels, modelNotices } from "../state";
import { client } from "./engine";

/** What the Hub's form asks for, or what is wrong with it. */
export function fromHub(name: string): ModelSource | string {
  const address = parseAddress(hubAddress.value);
  if (!address) return "The Hub’s address is no address of the web, such as https://huggingface.co.";
  const model = parseName(name);
  if (!model) return "Write the name as owner/name, with @revision for another branch, or as owner/name/file.gguf.";
  const token = hubToken.value.trim();
  // Asked here because a worker cannot ask. Without it the browser may remove models when it needs the space.
  void navigator.storage?.persist?.().catch(() => false);
  return { name: name.trim(), hub: { address, ...model }, ...(token ? { token } : {}) };
}

export const fromKept = ({ id, name }: KeptModel): ModelSource => ({ name, kept: id });

/** What a model is called in an address or a run file: its name on the Hub, if it comes from there. */
export const sharedName = (source: ModelSource): string | undefined =>
  "hub" in source || ("kept" in source && parseName(source.name)) ? source.name : undefined;

/** What files that were chosen or dropped together are, or what is missing among them. */
export async function fromFiles(chosen: readonly File[]): Promise<ModelSource | string> {
  // Of a folder only what lies in it directly: checkpoints in folders below have files of the same names.
  const files = new Map(chosen.filter(isOnTop).map((file) => [file.name, file]));
  const gguf = [...files.keys()].filter((name) => /\.gguf$/i.test(name));
  const [only] = files.values();
  // Ollama’s files have digests for names.
  if (gguf.length === 0 && files.size === 1 && only && (await isGguf(only))) gguf.push(only.name);
  const named = (names: string[]) => names.flatMap((name) => files.get(name) ?? []);
  const weights = (names: string[]) => named(names).map((blob) => ({ name: blob.name, blob }));
  if (gguf.length > 1) return "Choose one .gguf file, not several.";
  if (gguf.length === 1) return { name: gguf.join(), texts: {}, weights: weights(gguf) };

  const index = files.has(WEIGHTS) ? undefined : files.get(INDEX);
  let wanted = [WEIGHTS];
  try {
    if (index) wanted = shards(new Uint8Array(await index.arrayBuffer()));
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  const missing = [...REQUIRED, ...wanted].filter((name) => !files.has(name));
  if (missing.length > 0) return `Missing: ${missing.join(", ")}. Choose the files of one model together.`;
  const texts = named([...REQUIRED, ...OPTIONAL, ...(index ? [INDEX] : [])]);
  return {
    name: folderName(chosen) ?? "Your model",
    texts: Object.fromEntries(texts.map((file) => [file.name, file])),
    weights: weights(wanted),
  };
}

/** Whether it begins as GGUF files do. */
const isGguf = async (file: File) => (await file.slice(0, 4).text()) === "GGUF";

const isOnTop = (file: File) => file.webkitRelativePath.split("/").length <= 2;

function folderName(files: readonly File[]): string | undefined {
  return files[0]?.webkitRelativePath.split("/")[0] || undefined;
}

export async function listKept(): Promise<void> {
  keptModels.value = await client().call("kept_models", {}).catch(() => []);
}

export async function deleteKept({ id, name }: KeptModel): Promise<void> {
  try {
    keptModels.value = await client().call("delete_model", { id });
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    modelNotices.value = [{ kind: "error", text: `${name} could not be deleted: ${why}` }];
  }
}
