/** The settings as the engine takes them. */
import type { LoraOptions, TrainOptions } from "postil";
import type { Settings } from "../state";

/** The adapter's part of the settings. */
export function loraOptions(settings: Settings): LoraOptions {
  const { r, lora_alpha, lora_dropout, target_modules, rank_pattern, alpha_pattern } = settings;
  return {
    r,
    lora_alpha,
    lora_dropout,
    target_modules,
    ...(Object.keys(rank_pattern).length > 0 ? { rank_pattern } : {}),
    ...(Object.keys(alpha_pattern).length > 0 ? { alpha_pattern } : {}),
  };
}

/** The training's part. */
export function trainOptions(settings: Settings): TrainOptions {
  const { r, lora_alpha, lora_dropout, target_modules, rank_pattern, alpha_pattern, eval_split, ...train } = settings;
  return train;
}
