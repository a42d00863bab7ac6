// How soon the page answers to keys while a run goes on.
import assert from "node:assert/strict";
import { panel } from "./harness.mjs";

/** What people take for an answer at once, at the 95th percentile of keys. */
const LATENCY_MS = 100;
/** Fewer keys have no 95th percentile. */
const FEWEST = 40;
/** Between two keys, as a person types. */
const PACE_MS = 60;

const p95 = (values) => Math.round(values.toSorted((a, b) => a - b)[Math.floor(0.95 * values.length)]);

/**
 * Types until the run is over, or `isOver`. Gives for each key the ms until the page had dealt with it, and until the browser
 * had painted that.
 */
async function typing(page, isOver) {
  await page.evaluate(() => {
    window.keys = new Map();
    window.observer = new PerformanceObserver((list) => {
      for (const { interactionId, startTime, processingEnd, duration } of list.getEntries()) {
        if (!interactionId) continue;
        const [handled, painted] = window.keys.get(interactionId) ?? [0, 0];
        window.keys.set(interactionId, [Math.max(handled, processingEnd - startTime), Math.max(painted, duration)]);
      }
    });
    window.observer.observe({ type: "event", durationThreshold: 16 });
  });
  const field = page.getByLabel("Prompt", { exact: true });
  const before = await field.inputValue();
  await field.focus();
  let pressed = 0;
  while (pressed < FEWEST || !(await isOver())) {
    // What is out of sight, or below the browser's own window, which may be lower than the page's viewport, is not painted;
    // a run's charts push the field down.
    await field.evaluate((element) => element.scrollIntoView({ block: "center" }));
    await page.keyboard.press(pressed % 2 === 0 ? "a" : "Backspace");
    pressed++;
    await page.waitForTimeout(PACE_MS);
  }
  await field.fill(before);
  const slow = await page.evaluate(() => (window.observer.disconnect(), [...window.keys.values()]));
  // What was painted within the threshold is not reported.
  const fast = Array(Math.max(0, pressed - slow.length)).fill([16, 16]);
  const [handled, painted] = [0, 1].map((i) => [...fast, ...slow].map((pair) => pair[i]));
  return { pressed, handled, painted };
}

const isDone = async (page) => (await panel(page, "Train").getByText("Done.", { exact: true }).count()) > 0;

/** Types while a run goes on, which has begun: to its end unless `isOver` says otherwise. */
export async function answersAtOnce(page, t, isOver = () => isDone(page)) {
  // What a busy machine takes from this process it takes from the page too.
  const late = [];
  let last = performance.now();
  const timer = setInterval(() => {
    const now = performance.now();
    late.push(Math.max(0, now - last - 20));
    last = now;
  }, 20).unref();
  const { pressed, handled, painted } = await typing(page, isOver);
  clearInterval(timer);
  const own = p95(late);
  const found = `while training a key is dealt with in ${p95(handled)} ms and painted in ${p95(painted)} ms at the 95th percentile of ${pressed} (this test's own timers are ${own} ms late)`;
  t.diagnostic(found);
  assert.ok(p95(handled) < LATENCY_MS + own, found);
  assert.ok(p95(painted) < LATENCY_MS + own, found);
}
