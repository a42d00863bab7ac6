// The page with the real engine, on a software GPU: minutes, not seconds. DEMO=folder serves another built-in model.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { builtPage, explained, here, openPage, panel, remove, serve, setNumber, unzipSync } from "./harness.mjs";

export const TIMEOUT = 10 * 60_000;

/** Serves the page for the tests of one file; `onPage` runs a test on a fresh page whose model and data are loaded. */
export function realPage() {
  const built = { url: undefined };
  let page;
  let server;
  before(async () => {
    page = await builtPage();
    server = await serve([...(process.env.DEMO ? [process.env.DEMO] : []), page.folder]);
    built.url = server.url;
  });
  after(async () => {
    server?.close();
    await page?.discard();
  });
  const onPage = (name, act, options) =>
    test(name, { timeout: TIMEOUT }, async (t) => {
      const opened = await openPage(built.url, options);
      try {
        await opened.page.getByText("Ready.").waitFor();
        await act(opened.page, opened, t);
      } catch (error) {
        const failure = await explained(error, opened);
        await opened.close().catch(() => {});
        throw failure;
      }
      await opened.close();
    });
  return { built, onPage };
}

export const trainButton = (page) => page.getByRole("button", { name: "Train", exact: true });
export const done = (page) => panel(page, "Train").getByText("Done.", { exact: true }).waitFor();

/** Settings of a run so small that a software GPU ends it in time. */
export async function smallRun(page, { steps, evalSteps = steps, tokens = 4 }) {
  await setNumber(page, "Steps", steps);
  await setNumber(page, "Rank", 4);
  await setNumber(page, "Batch size", 2);
  await setNumber(page, "Learning rate", 0.005);
  await page.getByText("Advanced").click();
  await setNumber(page, "Maximum length", 32);
  await setNumber(page, "Warm-up steps", 2);
  await setNumber(page, "Evaluate every", evalSteps);
  await page.getByText("Samples while training").click();
  await setNumber(page, "Sample every", 0);
  await page.getByText("Sampling", { exact: true }).click();
  await setNumber(page, "Maximum tokens", tokens);
  // The counts of the data follow the maximum length.
  await panel(page, "Data").getByText(/cut to 32 tokens/).first().waitFor();
}

export async function saved(page, button) {
  const [download] = await Promise.all([page.waitForEvent("download"), button.click()]);
  return await readFile(await download.path());
}

/** The adapter, once the page has checked the file that it wrote. */
export async function downloadAdapter(page) {
  const entry = panel(page, "Download").getByRole("region", { name: "PEFT adapter" });
  const zip = await saved(page, entry.getByRole("button", { name: "Download PEFT adapter" }));
  await entry.getByText(/checked: same logits as/).waitFor();
  return { zip, files: unzipSync(zip) };
}

/**
 * The log of the page's run as the native binary makes it, by the run file and by the command line that the page gives, which
 * must be the same. `files` are the run's own data, by name.
 */
export async function native(page, files = {}) {
  const folder = await mkdtemp(join(tmpdir(), "postil-native-"));
  const binary = process.env.POSTIL ?? join(here, "../../target/debug/postil");
  const run = await saved(page, page.getByRole("button", { name: "Download run.json" }).first());
  for (const [name, content] of Object.entries({ ...files, "run.json": run })) await writeFile(join(folder, name), content);
  const share = panel(page, "Take the settings along");
  const logs = [];
  for (const title of ["The same run on the command line", "The same run from a run file"]) {
    await share.getByText(title).click();
    const command = await share.getByLabel(title).textContent();
    const named = `postil() { "$POSTIL" "$@" --log log.jsonl; }\n${command}`;
    const { status, stderr } = spawnSync("sh", ["-c", named], { cwd: folder, env: { ...process.env, POSTIL: binary }, encoding: "utf8" });
    assert.equal(status, 0, `${binary}: ${stderr} (build it with \`cargo build\`, or set POSTIL)`);
    const lines = (await readFile(join(folder, "log.jsonl"), "utf8")).trim().split("\n");
    logs.push(lines.map((line) => JSON.parse(line)).map(({ step, loss, eval_loss }) => ({ step, loss, eval_loss })));
    await remove(join(folder, "adapter"));
  }
  await remove(folder);
  assert.deepEqual(logs[0], logs[1]);
  return logs[0];
}

/** A loss of the page's, which may have no more than four decimals, is the binary's: the same seed and data, the same curve. */
export function same(found, expected, what) {
  assert.ok(Math.abs(found - expected) < 1e-4 * expected + 5e-5, `${what}: ${found} here, ${expected} natively`);
}
