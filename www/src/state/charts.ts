/** How the charts are looked at. */
import { signal } from "@preact/signals";

/** How much of the average before a step's loss takes over: 0 is the loss itself. */
export const smoothing = signal(0.85);
export const logarithmic = signal(false);
/** The steps that are shown; all if not set. */
export const zoom = signal<readonly [from: number, to: number] | undefined>(undefined);
/** The step that all charts' read-outs are of. */
export const pointed = signal<number | undefined>(undefined);
