/** Files that the user takes away. */
import { computed, signal } from "@preact/signals";
import type { MergeCheck, Progress } from "postil";
import { model, modelInfo, modelSource } from "./model";
import { bestAdapter, run as ownRun, savedAdapter, type SavedAdapter } from "./run";
import { find, isOf, type KeptRun } from "./runs";

/** A run's adapter of its last checkpoint, or the one with the lowest held-out loss. */
export type Which = "last" | "best";

/** What Download takes: a copy of the run that the page has, or of the kept run of this id. */
export const chosenCopy = signal<{ run?: string; which: Which }>({ which: "last" });
/** The kept run's adapter that was chosen, once it has been read. */
export const keptCopy = signal<SavedAdapter | undefined>(undefined);
/** Why it could not be. */
export const copyError = signal<string | undefined>(undefined);

/** The adapter was trained on the model that is loaded. */
export function isOfModel({ model: { info, source } }: SavedAdapter): boolean {
  if (!modelInfo.value) return false;
  // What files hold shows in neither their names nor their shapes.
  if (source && "texts" in source) return modelSource.value === source;
  return isOf(modelInfo.value, { info, ...(source ? { source } : {}) });
}

/** The newest copy of the page's run: of the model that is loaded, or without a check where none could be. */
export const ownCopy = computed((): SavedAdapter | undefined => {
  const copy = savedAdapter.value;
  return copy && (model.value.name === "failed" || isOfModel(copy)) ? copy : undefined;
});

/** Nothing while there is none, or while it is being read. */
export const copyToTake = computed((): SavedAdapter | undefined => {
  const { run, which } = chosenCopy.value;
  if (run !== undefined && find(run)) return keptCopy.value && isOfModel(keptCopy.value) ? keptCopy.value : undefined;
  return ownCopy.value && which === "best" ? (bestAdapter.value ?? ownCopy.value) : ownCopy.value;
});

/** The run whose settings and log are taken: that of the chosen adapter; where there is none, the one that the page has. */
export const runToTake = computed((): KeptRun | undefined =>
  [chosenCopy.value.run, ownCopy.value?.run, ownRun.value.id].flatMap((id = "") => find(id) ?? [])[0],
);

export type DownloadState =
  | { name: "writing" | "checking" }
  /** The written file, read back and loaded, gives these logits but for `difference`. */
  | { name: "checked"; file: string; difference: number; against: "memory" | "copy" }
  /** Written, but the engine could not load the copy to compare with. */
  | { name: "unchecked"; file: string; reason: string }
  | { name: "merging"; stage: "writing" | "checking" | "loading"; progress: Progress; cancel: () => void }
  /** A merged model, read back and compared byte by byte with what was to be written, and loaded where that was possible. */
  | { name: "merged"; file: string; check: MergeCheck }
  /** There is nothing to check. */
  | { name: "saved"; file: string }
  | { name: "failed"; message: string };

/** By what is downloaded: a format and the adapter's copy, or another file. */
export const downloads = signal<Readonly<Record<string, DownloadState>>>({});
