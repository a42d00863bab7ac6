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
