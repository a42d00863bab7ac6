/** The one engine of the page. */
import type { Tuner } from "postil";

let current: Tuner | undefined;

export function tuner(): Tuner {
  if (!current) throw new Error("The engine has not been started.");
  return current;
}

export function useTuner(next: Tuner): void {
  endTuner();
  current = next;
}

/** Ends the engine there is, and everything it holds on the GPU. What is asked of it then fails. */
export function endTuner(): void {
  current?.dispose();
}
