/** Waiting for the page's state. */
import { effect } from "@preact/signals";

/** Resolves as soon as `holds` does, which reads signals. */
export function until(holds: () => boolean): Promise<void> {
  return new Promise((resolve) => {
    const dispose = effect(() => {
      if (!holds()) return;
      resolve();
      queueMicrotask(() => dispose());
    });
  });
}
