import { useId } from "preact/hooks";
import { changeSettings } from "../session/settings";
import { settings } from "../state";

/** Ranks worth trying, about evenly apart in their ratio. */
const RANKS = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256];

/** The rank from 1 to 256; others are typed beside it. */
export function RankSlider() {
  const id = useId();
  const { r } = settings.value;
  const above = RANKS.findIndex((rank) => rank >= r);
  const place = r >= 1 ? (above < 0 ? RANKS.length - 1 : above) : 0;
  return (
    <div class="field rank-slider">
      <label for={id}>Size</label>
      <input
        id={id}
        type="range"
        min={0}
        max={RANKS.length - 1}
        step={1}
        value={place}
        aria-valuetext={`rank ${r}`}
        aria-describedby={`${id}-hint`}
        onInput={({ currentTarget }) => changeSettings({ r: RANKS[Number(currentTarget.value)]! })}
      />
      <small id={`${id}-hint`} class="hint">
        From rank 1 to 256: the more, the more it can learn, and the larger its file.
      </small>
    </div>
  );
}
