/** The adapters in the engine, which fill the GPU's memory if none is ever dropped. */
import { chosenAdapter, loadedAdapters, run, type Which } from "../state";
import { tuner } from "./engine";
import { isStored } from "./history";

/** The engine's id of a run's copy of a step: of the run that is under way another one can follow. */
export const copyId = (run: string, which: Which, step: number | undefined) => `${run}/${which}/${step}`;

/** The run and the copy that an engine's id stands for; nothing for a run's own adapter and for what the user brought. */
export function copyOfId(id: string): { run: string; which: Which } | undefined {
  const [, run, which] = /^(.+)\/(last|best)\/\d+$/.exec(id) ?? [];
  return run && which ? { run, which: which as Which } : undefined;
}

/** Drops one, whether or not it is (still) there. */
export async function drop(id: string): Promise<void> {
  loadedAdapters.value = loadedAdapters.value.filter((other) => other.id !== id);
  await tuner().dropAdapter(id).catch(() => null);
}

/** Drops what can be loaded again from the kept runs, but for the newest run's adapter and the chosen one. */
export async function keepFew(): Promise<void> {
  for (const { id } of loadedAdapters.value) {
    const isStoredToo = await isStored(copyOfId(id)?.run ?? id);
    if (isStoredToo && id !== run.value.id && id !== chosenAdapter.value) await drop(id);
  }
}
