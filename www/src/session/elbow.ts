/** Which rank a sweep speaks for. */

export interface Point {
  r: number;
  loss: number;
  /** Trainable parameters. */
  parameters: number;
}

/** Losses that differ by less than this share count as the same. */
const SAME = 0.01;

/** An elbow lies at least this far below the chord, as a share of the whole fall: less is noise. */
const CLEAR = 0.1;

/**
 * The elbow of a falling curve: the point farthest below the chord from the first point to the last, over the
 * logarithm of the rank, both axes scaled to 0…1. After Satopää et al., Finding a "Kneedle" in a Haystack (2011), whose
 * difference curve this is. `undefined` where no point lies clearly below the chord.
 */
export function findElbow(points: readonly Point[]): Point | undefined {
  const [first, last] = [points[0], points.at(-1)];
  if (points.length < 3 || !first || !last || last.loss >= first.loss) return undefined;
  const along = ({ r }: Point) => Math.log(r / first.r) / Math.log(last.r / first.r);
  const height = ({ loss }: Point) => (loss - last.loss) / (first.loss - last.loss);
  const below = (point: Point) => 1 - along(point) - height(point);
  const farthest = points.reduce((best, point) => (below(point) > below(best) ? point : best), first);
  return below(farthest) >= CLEAR ? farthest : undefined;
}

export interface Choice {
  point: Point;
  why: /** There is no other. */
  | "only"
    /** All losses are the same: the smallest. */
    | "flat"
    /** More rank brings little. */
    | "elbow"
    /** Every rank brings about as much, and it is the largest. */
    | "falling"
    /** Larger ranks do worse. */
    | "lowest";
  /** The point with the lowest loss. */
  lowest: Point;
}

/** The rank to take of one set of targets. Beyond the lowest loss no rank is worth its parameters. */
export function choose(unsorted: readonly Point[]): Choice | undefined {
  const points = [...unsorted].sort((one, other) => one.r - other.r);
  const first = points[0];
  if (!first) return undefined;
  const lowest = points.reduce((best, point) => (point.loss < best.loss ? point : best), first);
  if (points.length === 1) return { point: first, why: "only", lowest };
  const highest = Math.max(...points.map(({ loss }) => loss));
  if (highest - lowest.loss <= SAME * lowest.loss) return { point: first, why: "flat", lowest };
  const elbow = findElbow(points.slice(0, points.indexOf(lowest) + 1));
  if (elbow) return { point: elbow, why: "elbow", lowest };
  return { point: lowest, why: lowest === points.at(-1) ? "falling" : "lowest", lowest };
}

/** Of several sets' choices, the index of the one to take: the lowest loss, or what comes as low with fewer parameters. */
export function chooseAmong(choices: readonly Choice[]): number {
  const lowest = Math.min(...choices.map(({ point }) => point.loss));
  const good = choices.filter(({ point }) => point.loss <= lowest * (1 + SAME));
  const [smallest] = [...good].sort((one, other) => one.point.parameters - other.point.parameters);
  return smallest ? choices.indexOf(smallest) : -1;
}
