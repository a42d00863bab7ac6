import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { SUGGESTIONS, type Suggestion } from "../suggestions";
import { bytes, compact } from "../format";
import { planSuggestions } from "../session/suggestions";
import { keptModels, memoryLimit, suggestionPlans } from "../state";

/** Models worth beginning with, with what they cost. */
export function Suggestions({ onChoose }: { onChoose: (suggestion: Suggestion) => void }) {
  const rest = SUGGESTIONS.filter(({ name }) => !keptModels.value.some((kept) => kept.complete && kept.name === name));
  const open = useSignal(false);
  // Nobody else needs the plans.
  useEffect(() => (open.value ? planSuggestions() : undefined), [open.value]);
  return (
    <details onToggle={(event) => (open.value = event.currentTarget.open)}>
      <summary>Small open models</summary>
      <p class="hint">
        Smaller ones load and train faster. Those with “Instruct” or “it” in their name answer chats; the others go on
        with a text. What training needs is planned with the settings as they are.
      </p>
      <ul class="suggestions">
        {rest.map((suggestion) => (
          <li key={suggestion.name}>
            <span class="kept-name">
              {suggestion.name.split("/")[0]}/<wbr />
              {suggestion.name.split("/")[1]}
              <small>{describe(suggestion)}</small>
              <small>{verdict(suggestion)}</small>
            </span>
            <button type="button" aria-label={`Choose ${suggestion.name}`} onClick={() => onChoose(suggestion)}>
              Choose
            </button>
          </li>
        ))}
      </ul>
    </details>
  );
}

function describe({ parameters, bytes: size, licence, gated }: Suggestion): string {
  const gate = gated ? ", gated: accept its terms on the Hub, and paste an access token" : "";
  return `${compact(parameters)} parameters, ${bytes(size)} to download, licence ${licence}${gate}`;
}

function verdict({ name }: Suggestion): string {
  const plan = suggestionPlans.value[name];
  if (plan === undefined) return "";
  if (typeof plan === "string") return `! These settings cannot train it: ${plan}`;
  const budget = memoryLimit.value?.bytes ?? Infinity;
  const { peak, least = peak } = plan;
  if (peak <= budget) return `✓ Trains on this device, by the memory plan: ${bytes(peak)} of GPU memory.`;
  const smallest = `with batch size 1 and gradient checkpointing`;
  if (least <= budget) return `✓ Trains on this device ${smallest}: ${bytes(least)} of GPU memory; ${bytes(peak)} as the settings are.`;
  return `! Too large for this device: ${bytes(least)} of GPU memory even ${smallest}, and ${bytes(budget)} are counted on.`;
}
