import { useSignal, useSignalEffect } from "@preact/signals";
import { loss } from "../format";
import { evaluations, run } from "../state";

/** A run in words for screen readers: its beginning and end, and each tenth of the way. */
export function Announcer() {
  const text = useSignal("");
  const said = useSignal("");
  useSignalEffect(() => {
    const { status: still, compiling, start, last } = run.value;
    const status = compiling ? "compiling" : still;
    const total = start?.total_steps ?? 0;
    const tenth = last && total > 0 ? Math.floor((10 * last.step) / total) : 0;
    const key = `${status} ${status === "training" ? tenth : ""}`;
    if (key === said.peek()) return;
    said.value = key;
    const held = evaluations.peek().at(-1);
    const heldOut = held ? ` Held-out loss ${loss(held.loss)}.` : "";
    const so = last ? ` Step ${last.step} of ${total}. Loss ${loss(last.loss)}.${heldOut}` : "";
    const words = {
      idle: "",
      preparing: "Preparing to train.",
      compiling: "Compiling shaders.",
      training: `Training.${so}`,
      pausing: "Pausing after this step.",
      paused: `Training is paused.${so}`,
      stopping: "Stopping after this step.",
      finished: `Training is done.${so}`,
      stopped: `Training was stopped.${so}`,
      failed: "Training ended with an error.",
    };
    text.value = words[status];
  });
  return (
    <p class="sr-only" aria-live="polite">
      {text.value}
    </p>
  );
}
