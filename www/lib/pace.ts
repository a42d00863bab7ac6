/** How fast bytes come, and how long the rest will take. */
import type { Progress } from "./protocol";

/** Old enough to even out what comes in bursts, young enough to follow a change. */
const WINDOW_MS = 5_000;
/** Sooner than this there is nothing to say. */
const SHORTEST_MS = 500;

export class Pace {
  private readonly seen: [time: number, done: number][] = [];

  /** What was there before the first call does not count. */
  at(done: number, total: number): Progress {
    const now = performance.now();
    this.seen.push([now, done]);
    while (this.seen.length > 2 && (this.seen[1]?.[0] ?? now) < now - WINDOW_MS) this.seen.shift();
    const [since, before] = this.seen[0] ?? [now, done];
    if (now - since < SHORTEST_MS || done <= before) return { done, total };
    const bytesPerSecond = ((done - before) / (now - since)) * 1000;
    return { done, total, bytesPerSecond, ...(total > 0 ? { secondsLeft: (total - done) / bytesPerSecond } : {}) };
  }
}
