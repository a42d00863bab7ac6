/** The comparison of the base with an adapter. */
import { computed, signal } from "@preact/signals";
import type { Compiling } from "postil";
import { modelInfo } from "./model";

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
/** Why an adapter could not be taken or changed to. */
export const adapterError = signal<string | undefined>(undefined);

export interface Sampling {
  temperature: number;
  top_k: number;
  top_p: number;
  max_new_tokens: number;
  seed: number;
}

export const prompt = signal("");
/** Prompts of this visit, newest first. In memory only. */
export const promptHistory = signal<readonly string[]>([]);
/** The data is of conversations. */
export const chatOfData = signal(false);
/** Whether there is to be a conversation, if the person has said so since the data was chosen. */
export const chatWish = signal<boolean | undefined>(undefined);
/** The prompt is a message of a conversation, put through the model's chat template. */
export const chat = computed(() => modelInfo.value?.has_chat_template === true && (chatWish.value ?? chatOfData.value));
/** What a conversation begins with; empty: nothing. */
export const systemMessage = signal("");
export const sampling = signal<Sampling>({ temperature: 0.7, top_k: 40, top_p: 0.95, max_new_tokens: 100, seed: 0 });

export type Side = "base" | "tuned";

export interface Output {
  status: "waiting" | "writing" | "done" | "stopped" | "failed";
  text: string;
  tokens?: number;
  tokensPerSecond?: number;
  error?: string;
  /** While it waits for shaders. */
  compiling?: Compiling | undefined;
  /** The adapter that wrote it and its strength. */
  by?: { title: string; scale: number };
}

export interface Turn {
  id: number;
  prompt: string;
  base: Output;
  /** Absent while there is no adapter to compare with. */
  tuned?: Output;
}

/** A prompt and both answers; of a conversation, several. Each side answers its own earlier answers. */
export interface Comparison {
  id: number;
  chat: boolean;
  system: string;
  turns: readonly Turn[];
}

/** Newest first. */
export const comparisons = signal<readonly Comparison[]>([]);
/** The conversation that the next message belongs to, by id. */
export const openConversation = signal<number | undefined>(undefined);
export const generating = signal(false);
/** What the text that is being written waits for. */
export const compilingText = computed(() =>
  comparisons.value.flatMap(({ turns }) => turns.flatMap(({ base, tuned }) => base.compiling ?? tuned?.compiling ?? [])).at(0),
);
/** Where the two answers differ is marked. */
export const markDifferences = signal(false);
/** What has become of the text written last, for screen readers. */
export const writingNews = signal("");
