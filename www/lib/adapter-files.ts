/** Adapter files in and out: pairs of a configuration and weights, in a zip. */
import { unzipSync, zipSync } from "fflate";
import type { AdapterFiles, CheckpointFiles, MlxFiles } from "./engine";
import { FormatError } from "./errors";

export const CONFIG_NAME = "adapter_config.json";
export const MODEL_NAME = "adapter_model.safetensors";
export const MLX_NAME = "adapters.safetensors";

/** Above the largest adapter a browser could train; keeps a hostile zip from filling memory. */
export const MAX_ADAPTER_BYTES = 2 ** 30;

const EXPECTED = `Choose ${CONFIG_NAME} and ${MODEL_NAME}, or one zip that holds both.`;

/** The adapter in a run's checkpoint. */
export function adapterOf(files: CheckpointFiles): AdapterFiles {
  const [config, model] = [files[CONFIG_NAME], files[MODEL_NAME]];
  if (!config || !model) throw new FormatError(`A checkpoint without ${CONFIG_NAME} or ${MODEL_NAME}.`);
  return { config, model };
}

/** PEFT's two files, chosen together or in one zip. Whether they fit a model is for the engine to say. */
export async function readAdapter(files: readonly File[]): Promise<AdapterFiles> {
  const total = files.reduce((sum, { size }) => sum + size, 0);
  if (total > MAX_ADAPTER_BYTES) throw new FormatError(`These files are larger than any adapter that a browser can use. ${EXPECTED}`);
  const [zip] = files;
  if (files.length === 1 && zip && /\.zip$/i.test(zip.name)) return await unzipAdapter(zip.name, zip);
  const config = files.find(({ name }) => name.endsWith(".json"));
  const model = files.find(({ name }) => name.endsWith(".safetensors"));
  if (!config || !model) {
    const given = files.map(({ name }) => name).join(", ");
    throw new FormatError(`An adapter is two files, and what was chosen is: ${given}. ${EXPECTED}`);
  }
  const [configBytes, modelBytes] = await Promise.all([config.arrayBuffer(), model.arrayBuffer()]);
  return { config: new Uint8Array(configBytes), model: new Uint8Array(modelBytes) };
}

/** A PEFT adapter as one file. */
export const zipAdapter = ({ config, model }: AdapterFiles): Blob => zipPair([CONFIG_NAME, config], [MODEL_NAME, model]);

/** The adapter in a zip of PEFT's two files, in whatever folder. */
export async function unzipAdapter(name: string, zip: Blob): Promise<AdapterFiles> {
  const [config, model] = await unzipPair(name, zip, [CONFIG_NAME, MODEL_NAME], EXPECTED);
  return { config, model };
}

export const zipMlx = ({ config, adapters }: MlxFiles): Blob => zipPair([CONFIG_NAME, config], [MLX_NAME, adapters]);

export async function unzipMlx(name: string, zip: Blob): Promise<MlxFiles> {
  const [config, adapters] = await unzipPair(name, zip, [CONFIG_NAME, MLX_NAME]);
  return { config, adapters };
}

/** Two files of a zip; `expected` is what to say where they are not in it. */
async function unzipPair(name: string, zip: Blob, wanted: readonly [string, string], expected = ""): Promise<[Uint8Array, Uint8Array]> {
  const bytes = new Uint8Array(await zip.arrayBuffer());
  const base = (path: string) => path.split("/").pop();
  let entries: Record<string, Uint8Array>;
  try {
    entries = unzipSync(bytes, {
      filter: (entry) => wanted.includes(base(entry.name) ?? "") && entry.originalSize <= MAX_ADAPTER_BYTES,
    });
  } catch {
    throw new FormatError(`${name} is not a zip file that can be read. ${expected}`.trim());
  }
  const find = (file: string) => Object.entries(entries).find(([path]) => base(path) === file)?.[1];
  const [first, second] = wanted.map(find);
  if (!first || !second) throw new FormatError(`${name} does not hold both files of an adapter. ${expected}`.trim());
  return [first, second];
}

/** A zip of a configuration and weights. */
function zipPair([configName, config]: [string, Uint8Array], [weightsName, weights]: [string, Uint8Array]): Blob {
  // Weights do not compress: level 0 stores them.
  const bytes = zipSync({ [configName]: config, [weightsName]: [weights, { level: 0 }] });
  return new Blob([bytes], { type: "application/zip" });
}
