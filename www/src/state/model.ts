/** The base model, and where models come from. */
import { computed, signal } from "@preact/signals";
import type { KeptModel, ModelInfo, ModelSource, Progress } from "postil";

export type ModelState =
  | { name: "loading"; title: string; stage: "download" | "upload"; progress: Progress; cancel?: () => void }
  | { name: "loaded"; info: ModelInfo }
  | { name: "failed"; message: string };

export const model = signal<ModelState>({ name: "loading", title: "", stage: "download", progress: { done: 0, total: 0 } });
/** Where the model that is loaded comes from. */
export const modelSource = signal<ModelSource | undefined>(undefined);
/** What a person should know of the model being loaded, or of the one that could not be. */
export const modelNotices = signal<readonly { kind: "error" | "note"; text: string }[]>([]);
/** Models from the Hub that are kept in this browser. */
export const keptModels = signal<readonly KeptModel[]>([]);
/** Bytes of GPU memory that training a model would take: with the settings as they are, and where that is too much, at least. */
export interface SuggestionPlan {
  peak: number;
  least?: number;
}

/** Of each suggested model, or why it cannot be trained with these settings. */
export const suggestionPlans = signal<Readonly<Record<string, SuggestionPlan | string>>>({});
/** Where models are looked for by name. */
export const hubAddress = signal<string>(import.meta.env.VITE_HUB_ADDRESS ?? "https://huggingface.co");
/** Opens gated and private models. In memory only: it is gone with the tab. */
export const hubToken = signal("");
export const modelInfo = computed(() => (model.value.name === "loaded" ? model.value.info : undefined));
/** What a person is told where nothing can be done without a model. */
export const modelMissing = computed(() =>
  model.value.name === "failed" ? "There is no model: load one under Model." : "Waiting for the model.",
);
