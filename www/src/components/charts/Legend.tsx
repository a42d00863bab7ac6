import { shownCurves } from "./curves";

/** What tells runs apart besides colour: the dashes of their lines and a letter at the end of each. */
export const DASHES = [[12, 4], [2, 4], [14, 4, 2, 4], [6, 3, 6, 9], [20, 5]];
export const LETTERS = "ABCDEF";
/** More lines than these cannot be told apart. */
export const MOST_OVERLAID = DASHES.length;

export function Legend() {
  const { own, others } = shownCurves();
  return (
    <ul class="legend" aria-label="Lines of the loss">
      {others.length > 0 && own && <li class="legend-run">A, {own.title}:</li>}
      <li class="key-item train">training loss</li>
      <li class="key-item held">held-out loss</li>
      {others.map(({ title }, index) => (
        <li class="legend-run" key={index}>
          <svg width="32" height="8" aria-hidden="true">
            <line class={`line-${index + 1}`} x1="0" x2="32" y1="4" y2="4" stroke-dasharray={DASHES[index]?.join(" ")} />
          </svg>
          {LETTERS[index + 1]}, {title}
          <span class="hint"> (held-out with circles)</span>
        </li>
      ))}
    </ul>
  );
}
