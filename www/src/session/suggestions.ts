/** What training each suggested model would take, by the memory plan, with the settings as they are. */
import { effect } from "@preact/signals";
import { active, memoryLimit, phase, settings, suggestionPlans, type SuggestionPlan } from "../state";
import { SUGGESTIONS, type Suggestion } from "../suggestions";
import { tuner } from "./engine";
import { settle } from "./settings";

/** What makes a run smaller and keeps its results but for rounding. */
const SMALLEST = { per_device_train_batch_size: 1, gradient_checkpointing: true };

/** Plans anew whenever the settings or the budget change; gives what ends that. */
export function planSuggestions(): () => void {
  return effect(() => {
    const isThere = phase.value.name === "ready" && !active.value;
    void [settings.value, memoryLimit.value];
    if (isThere) settle(planAll);
  });
}

async function planAll(): Promise<void> {
  const [its, limit] = [settings.value, memoryLimit.value];
  const plans: Record<string, SuggestionPlan | string> = {};
  for (const suggestion of SUGGESTIONS) {
    plans[suggestion.name] = await plan(suggestion).catch((error: unknown) => (error instanceof Error ? error.message : String(error)));
    // Newer settings have plans of their own.
    if (settings.value !== its || memoryLimit.value !== limit || active.value) return;
  }
  suggestionPlans.value = plans;
}

async function plan({ config }: Suggestion): Promise<SuggestionPlan> {
  const its = settings.value;
  const limit = memoryLimit.value?.bytes ?? Infinity;
  const peak = await tuner().planModel(config, its);
  return peak <= limit ? { peak } : { peak, least: await tuner().planModel(config, { ...its, ...SMALLEST }) };
}
