/** Adapter files in and out: PEFT's pair of files, alone or in a zip. */
import { unzipSync, zipSync } from "fflate";
import type { AdapterFiles, CheckpointFiles } from "postil-engine";
import type { InitAdapter, Settings } from "../state";

export const CONFIG_NAME = "adapter_config.json";
export const MODEL_NAME = "adapter_model.safetensors";

/** Above the largest adapter a browser could train; keeps a hostile zip from filling memory. */
const MAX_ADAPTER_BYTES = 2 ** 30;

const EXPECTED = `Choose ${CONFIG_NAME} and ${MODEL_NAME}, or one zip that holds both.`;

/** The adapter in a run's checkpoint. */
export function adapterOf(files: CheckpointFiles): AdapterFiles {
  const [config, model] = [files[CONFIG_NAME], files[MODEL_NAME]];
  if (!config || !model) throw new Error(`A checkpoint without ${CONFIG_NAME} or ${MODEL_NAME}.`);
  return { config, model };
}

export async function readAdapter(files: File[]): Promise<InitAdapter> {
  const total = files.reduce((sum, { size }) => sum + size, 0);
  if (total > MAX_ADAPTER_BYTES)
    throw new Error(`These files are larger than any adapter this page can use. ${EXPECTED}`);
  const [zip] = files;
  if (files.length === 1 && zip && /\.zip$/i.test(zip.name)) {
    return { name: zip.name, files: await unzipAdapter(zip.name, zip) };
  }
  const config = files.find(({ name }) => name.endsWith(".json"));
  const model = files.find(({ name }) => name.endsWith(".safetensors"));
  if (!config || !model) {
    const given = files.map(({ name }) => name).join(", ");
    throw new Error(`An adapter is two files, and what was chosen is: ${given}. ${EXPECTED}`);
  }
  const [configBytes, modelBytes] = await Promise.all([config.arrayBuffer(), model.arrayBuffer()]);
  return { name: model.name, files: { config: new Uint8Array(configBytes), model: new Uint8Array(modelBytes) } };
}

/** The adapter in a zip of the two files, in whatever folder. */
export async function unzipAdapter(name: string, zip: Blob): Promise<AdapterFiles> {
  const [config, model] = await unzipPair(name, zip, [CONFIG_NAME, MODEL_NAME], EXPECTED);
  return { config, model };
}

/** Two files of a zip; `expected` is what to say where they are not in it. */
export async function unzipPair(name: string, zip: Blob, wanted: readonly [string, string], expected = ""): Promise<[Uint8Array, Uint8Array]> {
  const bytes = new Uint8Array(await zip.arrayBuffer());
  const base = (path: string) => path.split("/").pop();
  let entries: Record<string, Uint8Array>;
  try {
    entries = unzipSync(bytes, {
      filter: (entry) => wanted.includes(base(entry.name) ?? "") && entry.originalSize <= MAX_ADAPTER_BYTES,
    });
  } catch {
    throw new Error(`${name} is not a zip file that can be read. ${expected}`.trim());
  }
  const find = (file: string) => Object.entries(entries).find(([path]) => base(path) === file)?.[1];
  const [first, second] = wanted.map(find);
  if (!first || !second) throw new Error(`${name} does not hold both files of an adapter. ${expected}`.trim());
  return [first, second];
}

function parseConfig(config: Uint8Array): Record<string, unknown> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(new TextDecoder().decode(config));
  } catch {
    throw new Error(`${CONFIG_NAME} is not JSON.`);
  }
  if (typeof parsed !== "object" || parsed === null) throw new Error(`${CONFIG_NAME} is not a JSON object.`);
  return parsed as Record<string, unknown>;
}

/** The settings an adapter brings along; the engine has the last word on whether they are right. */
export function readLoraConfig(config: Uint8Array): Partial<Settings> {
  const { r, lora_alpha, target_modules, rank_pattern, alpha_pattern } = parseConfig(config);
  const found: Partial<Settings> = {};
  if (typeof r === "number") found.r = r;
  if (typeof lora_alpha === "number") found.lora_alpha = lora_alpha;
  if (Array.isArray(target_modules)) found.target_modules = target_modules.filter((name) => typeof name === "string");
  // What the file does not say is that there are none.
  found.rank_pattern = numbers(rank_pattern);
  found.alpha_pattern = numbers(alpha_pattern);
  return found;
}

/** An adapter's rank, and the model that it was trained on as its configuration names it. */
export function readBase(config: Uint8Array): { r?: number; name?: string; revision?: string } {
  const { r, base_model_name_or_path: name, revision } = parseConfig(config);
  return {
    ...(typeof r === "number" ? { r } : {}),
    ...(typeof name === "string" ? { name } : {}),
    ...(typeof revision === "string" ? { revision } : {}),
  };
}

function numbers(value: unknown): Record<string, number> {
  const entries = typeof value === "object" && value !== null ? Object.entries(value) : [];
  return Object.fromEntries(entries.filter(([, item]) => typeof item === "number"));
}

export const zipAdapter = ({ config, model }: AdapterFiles): Blob => zipPair([CONFIG_NAME, config], [MODEL_NAME, model]);

/** A zip of a configuration and weights. */
export function zipPair([configName, config]: [string, Uint8Array], [weightsName, weights]: [string, Uint8Array]): Blob {
  // Weights do not compress: level 0 stores them.
  const bytes = zipSync({ [configName]: config, [weightsName]: [weights, { level: 0 }] });
  return new Blob([bytes], { type: "application/zip" });
}
