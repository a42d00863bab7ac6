/** The files that make up a model. */
import type { ModelFiles, NamedFile } from "./engine";
import { FormatError } from "./errors";
import { isFileName } from "./hub/name";

export const REQUIRED = ["config.json", "tokenizer.json"];
export const OPTIONAL = ["tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", "generation_config.json"];
export const WEIGHTS = "model.safetensors";
export const INDEX = "model.safetensors.index.json";

/** The engine's object from the small files and the weights; `revision` is the Hub's, unless it is `main`. */
export function assemble(
  name: string,
  texts: ReadonlyMap<string, Uint8Array>,
  weights: NamedFile[],
  revision?: string,
): ModelFiles {
  const template = texts.get("chat_template.jinja");
  const parts = {
    revision: revision === "main" ? undefined : revision,
    config: texts.get("config.json"),
    tokenizer: texts.get("tokenizer.json"),
    tokenizer_config: texts.get("tokenizer_config.json"),
    special_tokens_map: texts.get("special_tokens_map.json"),
    generation_config: texts.get("generation_config.json"),
    weights_index: texts.get(INDEX),
    chat_template: template && new TextDecoder().decode(template),
  };
  const there = Object.entries(parts).filter(([, part]) => part !== undefined);
  return { name, weights, ...Object.fromEntries(there) };
}

/** The small files of a model, as `assemble` took them. */
export function textsOf(model: ModelFiles): [name: string, bytes: Uint8Array][] {
  const template = model.chat_template;
  const parts = {
    "config.json": model.config,
    "tokenizer.json": model.tokenizer,
    "tokenizer_config.json": model.tokenizer_config,
    "special_tokens_map.json": model.special_tokens_map,
    "generation_config.json": model.generation_config,
    [INDEX]: model.weights_index,
    "chat_template.jinja": template === undefined ? undefined : new TextEncoder().encode(template),
  };
  return Object.entries(parts).flatMap(([name, bytes]) => (bytes ? [[name, bytes]] : []));
}

/** The files that an index names, each once. */
export function shards(index: Uint8Array): string[] {
  try {
    const { weight_map } = JSON.parse(new TextDecoder().decode(index)) as { weight_map: Record<string, string> };
    const names = [...new Set(Object.values(weight_map))].sort();
    const strange = names.find((name) => typeof name !== "string" || !isFileName(name));
    if (strange !== undefined) throw new Error(`“${strange}” is no name of a file beside it`);
    if (names.length === 0) throw new Error("it names no files");
    return names;
  } catch (error) {
    throw new FormatError(`${INDEX} cannot be read: ${error instanceof Error ? error.message : String(error)}.`);
  }
}
