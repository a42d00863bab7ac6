/** What training each suggested model would take, by the memory plan, with the settings as they are. */
import { effect } from "@preact/signals";
import { active, phase, settings, suggestionPlans } from "../state";
import { SUGGESTIONS } from "../suggestions";
import { tuner } from "./engine";
import { settle } from "./settings";

/** Plans anew whenever the settings change; gives what ends that. */
export function planSuggestions(): () => void {
  return effect(() => {
    const isThere = phase.value.name === "ready" && !active.value;
    void settings.value;
    if (isThere) settle(planAll);
  });
}

async function planAll(): Promise<void> {
  const its = settings.value;
  const plans: Record<string, number | string> = {};
  for (const { name, config } of SUGGESTIONS) {
    plans[name] = await tuner()
      .planModel(config, its)
      .catch((error: unknown) => (error instanceof Error ? error.message : String(error)));
    // Newer settings have plans of their own.
    if (settings.value !== its || active.value) return;
  }
  suggestionPlans.value = plans;
}
