// What the page may weigh, how soon it can be used, and that nothing jumps: on the built page with the real engine. How soon it
// answers in a long run, whose steps are the fake engine's: the real one's, fewer, are in studio.test.mjs and train.test.mjs.
import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { builtPage, openPage, panel, serve, setNumber } from "./harness.mjs";
import { answersAtOnce } from "./latency.mjs";

/** Compressed, in bytes. */
const MOST_CODE = 150e3;
const MOST_WASM = 3e6;
/** From the navigation's start to a page whose controls can be used. */
const MOST_MS = 1000;
/** Lighthouse's measure, which counts up to 0.1 as good: this is a line of text that moves. */
const MOST_SHIFT = 0.002;
/** A busy machine is late now and then; a page that is too slow is so every time. */
const TRIES = 3;
/** Steps of a long run: as many points are in each of its charts. */
const LONG_RUN = 600;

let page;
let folder;
let server;
before(async () => {
  page = await builtPage();
  folder = page.folder;
  server = await serve([folder]);
});
after(async () => {
  server?.close();
  await page?.discard();
});

/** Bytes of the built files that match, as a host sends them with gzip. */
async function weigh(pattern) {
  const names = (await readdir(folder, { recursive: true })).filter((name) => pattern.test(name));
  assert.ok(names.length > 0);
  const sizes = names.map(async (name) => (await promisify(gzip)(await readFile(join(folder, name)), { level: 9 })).length);
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}

test("scripts and styles are small, and so is the engine", async (t) => {
  const code = await weigh(/\.(js|css)$/);
  const wasm = await weigh(/\.wasm$/);
  t.diagnostic(`with gzip: scripts and styles ${code} bytes, WebAssembly ${wasm} bytes`);
  assert.ok(code < MOST_CODE, `scripts and styles: ${code} bytes with gzip`);
  assert.ok(wasm < MOST_WASM, `WebAssembly: ${wasm} bytes with gzip`);
});

/** Notes what moves by itself, and when a control that needs no engine can first be focused. */
const watch = () => {
  window.shifts = [];
  new PerformanceObserver((list) => {
    for (const { value, hadRecentInput, sources } of list.getEntries()) {
      if (hadRecentInput) continue;
      const place = ({ y, height }) => `${y}+${height}`;
      const moved = sources.map(({ node, previousRect, currentRect }) =>
        `${node?.outerHTML?.slice(0, 60)} from ${place(previousRect)} to ${place(currentRect)}`,
      );
      window.shifts.push([value, ...moved]);
    }
  }).observe({ type: "layout-shift", buffered: true });
  const timer = setInterval(() => {
    const own = document.querySelector("input[name=data]");
    if (!own) return;
    own.focus();
    if (document.activeElement !== own) return;
    window.usableAt = performance.now();
    clearInterval(timer);
  }, 5);
};

test("the page can be used within a second, before the engine is there, and nothing jumps", async (t) => {
  const times = [];
  for (let i = 0; i < TRIES && !(Math.min(...times) < MOST_MS); i++) {
    const { page, close } = await openPage(server.url, { initScript: watch });
    times.push(await page.waitForFunction(() => window.usableAt).then((handle) => handle.jsonValue()));
    await page.getByText("Ready.").waitFor();
    await page.waitForTimeout(500);
    const shifts = await page.evaluate(() => window.shifts);
    const sum = shifts.reduce((total, [value]) => total + value, 0);
    t.diagnostic(`usable after ${Math.round(times.at(-1))} ms, layout shift ${sum.toFixed(4)}`);
    assert.ok(sum < MOST_SHIFT, `layout shift ${sum}: ${JSON.stringify(shifts)}`);
    await close();
  }
  assert.ok(Math.min(...times) < MOST_MS, `usable after ${times.map(Math.round).join(", ")} ms`);
});

test("in a run of hundreds of steps the page answers to keys at once", async (t) => {
  const fake = await builtPage({ fake: true });
  const server = await serve([fake.folder]);
  const { page, close } = await openPage(server.url);
  const step = () => page.evaluate(() => parseInt(document.querySelector(".figures dd")?.textContent ?? "0"));
  await page.getByText("Ready.").waitFor();
  await setNumber(page, "Steps", 1_000_000);
  await page.getByRole("button", { name: "Train", exact: true }).click();
  await panel(page, "Train").locator(".plot canvas").first().waitFor();
  await answersAtOnce(page, t, async () => (await step()) >= LONG_RUN);
  t.diagnostic(`after ${await step()} steps`);
  await close();
  server.close();
  await fake.discard();
});
