/** The base and the tuned model on the same prompt, one after the other. */
import type { GenerateOptions, GenerateReport } from "postil-engine";
import { EngineError, type Call } from "../client";
import {
  adapterLoaded,
  adapterScale,
  chat,
  chosenAdapter,
  chosenSet,
  comparisons,
  generating,
  modelInfo,
  phase,
  prompt,
  sampling,
  writingNews,
  type Comparison,
  type Output,
} from "../state";
import { client } from "./engine";

/** Prompts of a built-in set that are shown by themselves after a run. */
const SAMPLES = 3;
const KEPT = 20;

let nextId = 1;
let writing: Call<GenerateReport> | undefined;
let cancelled = false;

export async function compare(): Promise<void> {
  await compareAll([prompt.value]);
}

/** What a run has changed, shown unasked at its end. */
export async function compareSamples(): Promise<void> {
  const prompts = chosenSet.value?.prompts.slice(0, SAMPLES) ?? [prompt.value].filter((text) => text.trim() !== "");
  if (prompts.length > 0 && !generating.value) await compareAll(prompts);
}

export function stopGenerating(): void {
  cancelled = true;
  writing?.cancel();
}

async function compareAll(prompts: string[]): Promise<void> {
  if (generating.value || !modelInfo.value) return;
  generating.value = true;
  cancelled = false;
  const adapter = adapterLoaded.value ? (chosenAdapter.value ?? null) : null;
  const adapter_scale = adapterScale.value;
  const useChat = chat.value && modelInfo.value.has_chat_template;
  const chosen = { ...sampling.value };
  const waiting = (): Output => ({ status: "waiting", text: "" });
  const added = prompts.map(
    (text): Comparison => ({
      id: nextId++,
      prompt: text,
      base: waiting(),
      ...(adapter === null ? {} : { tuned: waiting() }),
    }),
  );
  comparisons.value = [...added, ...comparisons.value].slice(0, KEPT);
  for (const { id, prompt: text } of added) {
    await write(id, "base", text, { ...chosen, adapter: null, chat: useChat });
    if (adapter !== null) await write(id, "tuned", text, { ...chosen, adapter, adapter_scale, chat: useChat });
  }
  generating.value = false;
}

async function write(id: number, side: "base" | "tuned", text: string, options: GenerateOptions): Promise<void> {
  if (cancelled || phase.value.name !== "ready") {
    update(id, side, { status: "stopped" });
    return;
  }
  const name = side === "base" ? "Base text" : "Tuned text";
  let written = "";
  writingNews.value = "";
  try {
    writing = client().call("generate", { prompt: text, options }, (piece) => {
      written += piece;
      update(id, side, { status: "writing", text: written });
    });
    const report = await writing;
    update(id, side, {
      status: report.stopped === "caller" ? "stopped" : "done",
      text: report.text,
      tokens: report.tokens,
      tokensPerSecond: report.tokens_per_second,
    });
    writingNews.value = `${name} ${report.stopped === "caller" ? "stopped" : "done"}`;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    update(id, side, { status: "failed", error: message });
    // The other side would fail in the same way.
    if (error instanceof EngineError) cancelled = true;
  } finally {
    writing = undefined;
  }
}

function update(id: number, side: "base" | "tuned", change: Partial<Output>): void {
  comparisons.value = comparisons.value.map((comparison) => {
    const output = comparison[side];
    return comparison.id === id && output ? { ...comparison, [side]: { ...output, ...change } } : comparison;
  });
}
