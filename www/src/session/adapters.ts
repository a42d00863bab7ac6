/** Adapters of kept runs: into the engine, and to disk. */
import type { AdapterFiles } from "postil-engine";
import { active, chosenAdapter, find, loadedAdapters, modelInfo, run } from "../state";
import { adapterOf, saveFile, zipAdapter } from "./adapter";
import { client } from "./engine";
import { filesOf } from "./history";
import { isOf } from "./resume";

export type Which = "last" | "best";

/**
 * Loads a kept run's adapter into the engine and chooses it. The one of the run that is under way is there already.
 * Fails with words for a person where that cannot be.
 */
export async function useRunAdapter(id: string, which: Which): Promise<void> {
  const kept = find(id);
  if (!kept) throw new Error("This run is not kept any more.");
  if (which === "last" && active.value && run.value.id === id) {
    chosenAdapter.value = id;
    return;
  }
  if (!modelInfo.value || !isOf(modelInfo.value, kept.model)) {
    throw new Error(`“${kept.title}” was trained on ${kept.model.info.name}. Load that model first.`);
  }
  const adapter = await runAdapter(id, which);
  const engineId = `${id}/${which}`;
  await client().call("load_adapter", { id: engineId, adapter });
  const step = which === "best" ? kept.best?.step : kept.checkpoint;
  const title = `${kept.title}, ${which === "best" ? "best, " : ""}step ${step}`;
  loadedAdapters.value = [...loadedAdapters.value.filter((other) => other.id !== engineId), { id: engineId, title }];
  chosenAdapter.value = engineId;
}

/** A kept run's adapter: its last state, or the one with the lowest held-out loss. */
export async function runAdapter(id: string, which: Which): Promise<AdapterFiles> {
  const files = await filesOf(id, which === "best" ? "best" : "checkpoint");
  if (!files) throw new Error("This run’s adapter is not in this browser.");
  return adapterOf(files);
}

export async function downloadRunAdapter(id: string, which: Which): Promise<void> {
  const adapter = await runAdapter(id, which);
  const kept = find(id);
  const step = which === "best" ? kept?.best?.step : kept?.checkpoint;
  const name = (kept?.title ?? "").replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "");
  saveFile(zipAdapter(adapter), `${name || "adapter"}-step-${step}.zip`);
}
