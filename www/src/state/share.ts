/** Settings that came by an address or a run file. */
import { signal } from "@preact/signals";
import type { Settings } from "./settings";

/** Settings that wait for their model. */
export interface Linked {
  /** On the Hub: `owner/name[@revision]`. Absent for the built-in one, or any. */
  model?: string | undefined;
  settings: Partial<Settings>;
  /** All others become what the page begins with. */
  isWhole?: boolean;
}

export const linked = signal<Linked | undefined>(undefined);
/** How a run file wants files of these names to be read. */
export interface Reading {
  names: readonly string[];
  format?: string;
  columns?: Record<string, string>;
}

export const linkedReading = signal<Reading | undefined>(undefined);
/** The built-in set that was asked for before the sets were known. */
export const linkedSet = signal<string | undefined>(undefined);
/** What of it could not be used, or is left to do. */
export const linkNotes = signal<readonly string[]>([]);
