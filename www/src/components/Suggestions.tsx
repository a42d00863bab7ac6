import { SUGGESTIONS, leastMemory, type Suggestion } from "../suggestions";
import { bytes, compact } from "../format";
import { keptModels, memoryLimit } from "../state";

/** Models worth beginning with, with what they cost. */
export function Suggestions({ onChoose }: { onChoose: (suggestion: Suggestion) => void }) {
  const rest = SUGGESTIONS.filter(({ name }) => !keptModels.value.some((kept) => kept.complete && kept.name === name));
  return (
    <details>
      <summary>Small open models</summary>
      <p class="hint">
        Smaller ones load and train faster. Those with “Instruct” or “it” in their name answer chats; the others go on
        with a text.
      </p>
      <ul class="suggestions">
        {rest.map((suggestion) => (
          <li key={suggestion.name}>
            <span class="kept-name">
              {suggestion.name}
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

function verdict(suggestion: Suggestion): string {
  const [least, budget] = [leastMemory(suggestion), memoryLimit.value?.bytes];
  const needs = `needs about ${bytes(least)} of GPU memory`;
  if (budget === undefined) return `Training ${needs}.`;
  if (least <= budget) return `✓ Probably trains on this device: ${needs}.`;
  return `! May be too large for this device: ${needs}, and ${bytes(budget)} are counted on.`;
}
