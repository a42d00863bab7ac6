/** Adapters in the engine: of kept runs, and brought by the user. */
import type { InitAdapter } from "../state";
import { adapterError, bestAdapter, chosenAdapter, keptRuns, loadedAdapters, run } from "../state";
import { adapterOf, readAdapter } from "./adapter";
import { chooseAdapter, rewriteTuned } from "./compare";
import { client } from "./engine";
import { Store } from "./store";

/** The engine's id of a run's best copy; while its run goes on, another one can follow. */
export const bestId = (run: string, step?: number) => `${run}/best${step === undefined ? "" : `/${step}`}`;

/** Loads a run's adapter into the engine and chooses it for comparing. */
export async function useRunAdapter(id: string, which: "last" | "best"): Promise<void> {
  const best = which === "best";
  const ofThisRun = best && id === run.value.id ? bestAdapter.value : undefined;
  const engineId = best ? bestId(id, ofThisRun?.step) : id;
  if (!loadedAdapters.value.some((other) => other.id === engineId)) {
    const kept = ofThisRun ? undefined : await (await Store.open())?.files(id, best ? "best" : "checkpoint");
    const adapter = ofThisRun?.files ?? (kept && adapterOf(kept));
    if (!adapter) throw new Error("This browser does not have that run’s adapter any more.");
    await client().call("load_adapter", { id: engineId, adapter });
    const title = id === run.value.id ? "This run" : (keptRuns.value.find((other) => other.id === id)?.title ?? "A kept run");
    const ofStep = ofThisRun ? ` (step ${ofThisRun.step})` : "";
    loadedAdapters.value = [...loadedAdapters.value, { id: engineId, title: best ? `${title}, best${ofStep}` : title }];
  }
  chosenAdapter.value = engineId;
}

/** Takes an adapter from the user and chooses it for comparing. The engine checks that it fits the model. */
export async function loadBrought(files: File[]): Promise<InitAdapter> {
  const adapter = await readAdapter(files);
  const id = `brought/${adapter.name}`;
  await client().call("load_adapter", { id, adapter: adapter.files });
  loadedAdapters.value = [...loadedAdapters.value.filter((other) => other.id !== id), { id, title: adapter.name }];
  chosenAdapter.value = id;
  return adapter;
}

/** Compares with the adapter of this id: one that is loaded, or a run's copy. */
export async function changeTo(id: string): Promise<void> {
  adapterError.value = undefined;
  if (loadedAdapters.value.some((other) => other.id === id)) {
    chooseAdapter(id);
    return;
  }
  const [, ofRun] = /^(.+)\/best(?:\/\d+)?$/.exec(id) ?? [];
  await rewriteAfter(() => (ofRun === undefined ? useRunAdapter(id, "last") : useRunAdapter(ofRun, "best")));
}

/** Takes an adapter for comparing only. */
export async function bringAdapter(files: File[]): Promise<void> {
  await rewriteAfter(() => loadBrought(files));
}

async function rewriteAfter(load: () => Promise<unknown>): Promise<void> {
  adapterError.value = undefined;
  try {
    await load();
    rewriteTuned();
  } catch (error) {
    adapterError.value = error instanceof Error ? error.message : String(error);
  }
}
