/**
 * Other ranks for some layers, as PEFT's `rank_pattern` and `alpha_pattern`. PEFT matches a key against a module's
 * whole name as `^(.*\.)?(KEY)$` (`peft/tuners/tuners_utils.py`); the keys written here are disjoint, so that their
 * order does not matter.
 */

export type Pattern = Record<string, number>;

export interface Patterns {
  rank_pattern: Pattern;
  alpha_pattern: Pattern;
}

/** One key of the patterns. */
export interface Exception {
  key: string;
  /** The layers that it is for, ascending; absent for a key that says something else. */
  layers?: number[];
  r?: number;
  lora_alpha?: number;
}

/** Layers stand in a list of this name in every model but GPT-2, where it is `h`. */
const KEY = /^\(layers\|h\)\\\.\((\d{1,4}(?:\|\d{1,4})*)\)\\\.\.\*$/;

const keyOf = (layers: readonly number[]) => `(layers|h)\\.(${layers.join("|")})\\..*`;

/** The patterns as a list: first those of layers, in their order. */
export function exceptions({ rank_pattern, alpha_pattern }: Patterns): Exception[] {
  const keys = [...new Set([...Object.keys(rank_pattern), ...Object.keys(alpha_pattern)])];
  const list = keys.map((key): Exception => {
    const layers = KEY.exec(key)?.[1]?.split("|").map(Number);
    const [r, lora_alpha] = [rank_pattern[key], alpha_pattern[key]];
    return {
      key,
      ...(layers ? { layers } : {}),
      ...(r === undefined ? {} : { r }),
      ...(lora_alpha === undefined ? {} : { lora_alpha }),
    };
  });
  const first = ({ layers }: Exception) => layers?.[0] ?? Number.MAX_SAFE_INTEGER;
  return list.sort((a, b) => first(a) - first(b));
}

function patterns(list: readonly Exception[]): Patterns {
  const rank_pattern: Pattern = {};
  const alpha_pattern: Pattern = {};
  for (const { key, r, lora_alpha } of list) {
    if (r !== undefined) rank_pattern[key] = r;
    if (lora_alpha !== undefined) alpha_pattern[key] = lora_alpha;
  }
  return { rank_pattern, alpha_pattern };
}

/** Gives the layers `from` to `to` this rank and alpha, whatever they had. */
export function withLayers(now: Patterns, from: number, to: number, r: number, lora_alpha: number): Patterns {
  const others = exceptions(now).flatMap((exception): Exception[] => {
    if (!exception.layers) return [exception];
    const layers = exception.layers.filter((layer) => layer < from || layer > to);
    return layers.length === 0 ? [] : [{ ...exception, layers, key: keyOf(layers) }];
  });
  const layers = Array.from({ length: to - from + 1 }, (_, index) => from + index);
  return patterns([...others, { key: keyOf(layers), layers, r, lora_alpha }]);
}

export function withoutKey(now: Patterns, key: string): Patterns {
  return patterns(exceptions(now).filter((exception) => exception.key !== key));
}

/** Numbers in ascending order as ranges: `0-3, 6`. */
export function ranges(numbers: readonly number[], dash = "–"): string {
  const found: [number, number][] = [];
  for (const number of numbers) {
    const last = found.at(-1);
    if (last && number === last[1] + 1) last[1] = number;
    else found.push([number, number]);
  }
  return found.map(([from, to]) => (from === to ? String(from) : `${from}${dash}${to}`)).join(", ");
}
