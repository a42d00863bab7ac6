import { diffWordsWithSpace } from "diff";
import type { Side } from "../state";

/** Texts that take longer than this to compare are shown without marks. */
const TIMEOUT_MS = 200;

/** One of two texts, with the words that the other one does not have marked. */
export function Differing({ base, tuned, side }: { base: string; tuned: string; side: Side }) {
  const parts = diffWordsWithSpace(base, tuned, { timeout: TIMEOUT_MS });
  if (!parts) return <>{side === "base" ? base : tuned}</>;
  return (
    <>
      {parts
        .filter(({ added, removed }) => (side === "base" ? !added : !removed))
        .map(({ value, added, removed }, index) =>
          added || removed ? (
            <mark class="differs" key={index}>
              <span class="sr-only">[only here: </span>
              {value}
              <span class="sr-only">]</span>
            </mark>
          ) : (
            <span key={index}>{value}</span>
          ),
        )}
    </>
  );
}
