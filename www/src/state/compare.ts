/** The comparison of the base with an adapter. */
import { computed, signal } from "@preact/signals";

/** An adapter that the engine has, under the id that it has it by. */
export interface LoadedAdapter {
  id: string;
  title: string;
}

export const loadedAdapters = signal<readonly LoadedAdapter[]>([]);
/** The one that the base is compared with. */
export const chosenAdapter = signal<string | undefined>(undefined);
/** There is an adapter to compare with. */
export const adapterLoaded = computed(() => loadedAdapters.value.some(({ id }) => id === chosenAdapter.value));
/** The adapter's strength: 1 is as trained. */
export const adapterScale = signal(1);

export interface Sampling {
  temperature: number;
  top_k: number;
  top_p: number;
  max_new_tokens: number;
  seed: number;
}

export const prompt = signal("");
export const chat = signal(false);
export const sampling = signal<Sampling>({ temperature: 0.7, top_k: 40, top_p: 0.95, max_new_tokens: 100, seed: 0 });

export interface Output {
  status: "waiting" | "writing" | "done" | "stopped" | "failed";
  text: string;
  tokens?: number;
  tokensPerSecond?: number;
  error?: string;
}

export interface Comparison {
  id: number;
  prompt: string;
  base: Output;
  /** Absent while there is no adapter to compare with. */
  tuned?: Output;
}

export const comparisons = signal<readonly Comparison[]>([]);
export const generating = signal(false);
/** What has become of the text written last, for screen readers. */
export const writingNews = signal("");
