/** What an adapter's configuration says. */
import { CONFIG_NAME } from "postil";
import type { Settings } from "../state";

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

/** What an adapter that a run starts from decides. */
export const LORA_NAMES = ["r", "lora_alpha", "lora_dropout", "target_modules", "rank_pattern", "alpha_pattern"] as const;

/**
 * The settings an adapter brings along, on a model with these modules; the engine has the last word on whether they are
 * right. What the file does not say is as PEFT has it.
 */
export function readLoraConfig(config: Uint8Array, modules: readonly string[]): Pick<Settings, (typeof LORA_NAMES)[number]> {
  const { r, lora_alpha, lora_dropout, target_modules: targets = ["q_proj", "v_proj"], rank_pattern, alpha_pattern } = parseConfig(config);
  const number = (value: unknown, usual: number) => (typeof value === "number" ? value : usual);
  return {
    r: number(r, 8),
    lora_alpha: number(lora_alpha, 8),
    lora_dropout: number(lora_dropout, 0),
    target_modules: Array.isArray(targets) ? targets.filter((name) => typeof name === "string") : [...modules],
    rank_pattern: numbers(rank_pattern),
    alpha_pattern: numbers(alpha_pattern),
  };
}

/** The settings say all of an adapter's shape; its configuration can also choose layers, or modules by a pattern. */
export function isPlain(config: Uint8Array, modules: readonly string[]): boolean {
  const { target_modules: targets = [], exclude_modules: excluded, layers_to_transform: layers } = parseConfig(config);
  const isKnown = targets === "all-linear" || (Array.isArray(targets) && targets.every((name) => modules.includes(name)));
  return isKnown && (excluded ?? undefined) === undefined && (layers ?? undefined) === undefined;
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
