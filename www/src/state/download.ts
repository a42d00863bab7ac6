/** Files that the user takes away. */
import { signal } from "@preact/signals";
import type { Progress } from "postil";

export type DownloadState =
  | { name: "writing" | "checking" }
  /** The written file, read back and loaded, gives these logits but for `difference`. */
  | { name: "checked"; file: string; difference: number; against: "memory" | "copy" }
  /** Written, but the engine could not load the copy to compare with. */
  | { name: "unchecked"; file: string; reason: string }
  | { name: "merging"; stage: "writing" | "checking"; progress: Progress; cancel: () => void }
  /** A merged model, read back and compared byte by byte with what was to be written. */
  | { name: "merged"; file: string }
  /** There is nothing to check. */
  | { name: "saved"; file: string }
  | { name: "failed"; message: string };

/** By what is downloaded: a format and the adapter's copy, or another file. */
export const downloads = signal<Readonly<Record<string, DownloadState>>>({});
