// Sweeps over ranks, with the fake engine, whose held-out loss falls with the rank; and which rank a sweep speaks for.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { example, fakePage, holdAfter, trainButton, useFile } from "./fake-page.mjs";
import { file, panel, setNumber, unnamed, unzipSync, www } from "./harness.mjs";

const { onPage } = fakePage();

/** A module of the page's without imports, as Node can load it. */
async function load(path) {
  const require = createRequire(join(www, "package.json"));
  const vite = await import(pathToFileURL(join(require.resolve("vite/package.json"), "../dist/node/index.js")).href);
  const { code } = await vite.transformWithOxc(await readFile(join(www, "src", path), "utf8"), path);
  return await import(`data:text/javascript,${encodeURIComponent(code)}`);
}

const points = (losses, first = 1) =>
  losses.map((loss, index) => ({ r: first * 2 ** index, loss, parameters: 1000 * first * 2 ** index }));

test("the elbow is the point farthest below the chord over the rank's logarithm", async () => {
  const { findElbow } = await load("session/elbow.ts");
  // Halves with each rank: below the chord by 0, 0.316, 0.374, 0.303, 0.168, 0.
  assert.equal(findElbow(points([0.8, 0.4, 0.2, 0.1, 0.05, 0.025])).r, 4);
  // The same shape further to the right and much higher: neither shift nor scale matters.
  assert.equal(findElbow(points([180, 140, 120, 110, 105, 102.5], 8)).r, 32);
  // A sharp bend.
  assert.equal(findElbow(points([3, 2.9, 1, 0.99, 0.98], 4)).r, 16);
  // A straight line has none, nor has a curve that falls late, one that rises, or one of two points.
  for (const losses of [[4, 3, 2, 1], [4, 3.9, 3.5, 1], [1, 2, 3], [2, 1]]) assert.equal(findElbow(points(losses)), undefined);
  // Ranks need not be evenly spaced: over the rank itself it would be 64.
  const uneven = [[1, 1], [4, 0.55], [64, 0.15], [256, 0]].map(([r, loss]) => ({ r, loss, parameters: r }));
  assert.equal(findElbow(uneven).r, 4);
});

test("a sweep speaks for the smallest rank that is large enough", async () => {
  const { choose, chooseAmong } = await load("session/elbow.ts");
  const why = (losses) => {
    const choice = choose(points(losses));
    return [choice.point.r, choice.why, choice.lowest.r];
  };
  assert.deepEqual(why([0.8, 0.4, 0.2, 0.1, 0.05, 0.025]), [4, "elbow", 32]);
  assert.deepEqual(why([2]), [1, "only", 1]);
  assert.deepEqual(why([2, 1.99, 1.985]), [1, "flat", 4]);
  assert.deepEqual(why([4, 3, 2, 1]), [8, "falling", 8]);
  assert.deepEqual(why([1, 2, 3]), [1, "lowest", 1]);
  // Beyond the lowest loss the ranks only cost.
  assert.deepEqual(why([3, 2.1, 2, 2.5, 9]), [2, "elbow", 4]);
  assert.equal(choose([]), undefined);
  // In whatever order the runs came.
  assert.equal(choose([...points([0.8, 0.4, 0.2, 0.1, 0.05])].reverse()).point.r, choose(points([0.8, 0.4, 0.2, 0.1, 0.05])).point.r);
  const of = (loss, parameters) => ({ point: { r: 8, loss, parameters }, why: "elbow", lowest: { r: 8, loss, parameters } });
  assert.equal(chooseAmong([of(1.2, 10), of(1, 1000), of(1.005, 100)]), 2);
  assert.equal(chooseAmong([of(1.2, 10), of(1, 1000), of(1.02, 100)]), 1);
  assert.equal(chooseAmong([]), -1);
});

const sweepPanel = (page) => panel(page, "Sweep");
const startButton = (page) => sweepPanel(page).getByRole("button", { name: "Start the sweep" });
const rows = (page) => sweepPanel(page).getByRole("group", { name: "Runs of the sweep" }).locator("tbody tr");
const rank = (page, r) => sweepPanel(page).getByRole("checkbox", { name: String(r), exact: true });

async function chooseRanks(page, wanted) {
  for (const r of [1, 2, 4, 8, 16, 32, 64, 128, 256]) await rank(page, r).setChecked(wanted.includes(r));
}

onPage("runs the ranks one after another, marks the elbow and says which to take", async (page) => {
  await setNumber(page, "Steps", 4);
  const ranks = [1, 2, 4, 8, 16, 32];
  await chooseRanks(page, ranks);
  await sweepPanel(page).getByText("6 runs of 4 steps.").waitFor();
  await startButton(page).click();
  await sweepPanel(page).getByText("Take rank 4: it is the elbow. Rank 32 has a held-out loss lower by only 0.1750, for 8 times the parameters.").waitFor();
  const cells = await rows(page).evaluateAll((list) => list.map((row) => [...row.children].map(({ textContent }) => textContent)));
  assert.deepEqual(cells.map(([r]) => Number(r)), ranks);
  const base = 3 * Math.exp(-4 / 25) + 0.2;
  assert.deepEqual(cells.map((cell) => cell[4]), ranks.map((r) => (base + 0.8 / r).toFixed(4)));
  // Alpha follows the rank.
  assert.deepEqual(cells.map((cell) => Number(cell[2])), ranks.map((r) => 2 * r));
  assert.match(cells[2][6], /^done, take this/);
  assert.equal(cells.filter((cell) => /take this/.test(cell[6])).length, 1);
  for (const what of ["rank", "trainable parameters"]) {
    const plot = sweepPanel(page).getByRole("img", { name: new RegExp(`^Held-out loss by ${what}\\.`) });
    assert.equal(await plot.locator("canvas").count(), 1);
    assert.match(await plot.getAttribute("aria-label"), /Marked: (4|14\.3K)\.$/);
  }
  const waiting = page.waitForEvent("download");
  await sweepPanel(page).getByRole("button", { name: "Download the table as CSV" }).click();
  const got = await waiting;
  assert.equal(got.suggestedFilename(), "story-model-built-in-plain-sweep.csv");
  const lines = (await readFile(await got.path(), "utf8")).trim().split("\r\n");
  assert.equal(lines[0], "r,lora_alpha,target_modules,trainable_parameters,eval_loss,best_step,seconds,state");
  assert.equal(lines.length, 7);
  const [r, lora_alpha, , trainable, eval_loss] = lines[3].split(",");
  assert.deepEqual([r, lora_alpha, trainable], ["4", "8", "14336"]);
  assert.ok(Math.abs(eval_loss - (base + 0.2)) < 1e-9);
  assert.deepEqual(await unnamed(page), []);

  // The best of all is what is compared with and downloaded; of the others the engine keeps none.
  const options = page.getByRole("combobox", { name: "Adapter", exact: true }).locator("optgroup[label=Loaded] option");
  assert.deepEqual(await options.allTextContents(), ["Sweep: rank 32, all linear"]);
  const zip = page.waitForEvent("download");
  await page.getByRole("button", { name: /^Download PEFT adapter/ }).click();
  const adapter = await zip;
  assert.equal(adapter.suggestedFilename(), "story-model-built-in-plain-r32-step-4.zip");
  const files = unzipSync(await readFile(await adapter.path()));
  const config = JSON.parse(new TextDecoder().decode(files["adapter_config.json"]));
  assert.deepEqual([config.r, config.lora_alpha], [32, 64]);
  // The settings are as they were.
  assert.equal(await page.getByLabel("Rank", { exact: true }).inputValue(), "16");
});

onPage("each run is one of the history's, whose adapter can be compared with", async (page) => {
  await setNumber(page, "Steps", 4);
  await page.getByText("Sampling").first().click();
  await setNumber(page, "Maximum tokens", 4);
  await chooseRanks(page, [4, 8]);
  await startButton(page).click();
  await sweepPanel(page).getByText(/^Take rank 8/).waitFor();
  const titles = ["Sweep: rank 4, all linear", "Sweep: rank 8, all linear"];
  for (const title of titles) await panel(page, "Runs").getByText(title, { exact: true }).waitFor();
  const select = page.getByRole("combobox", { name: "Adapter", exact: true });
  await select.selectOption({ label: `${titles[0]}, step 4` });
  await select.locator("optgroup[label=Loaded] option", { hasText: titles[0] }).waitFor({ state: "attached" });
  await panel(page, "Compare").getByRole("button", { name: "Generate" }).click();
  await page.locator(".side.tuned").getByText(`${titles[0]}, step 4`).waitFor();
  await page.locator(".side.tuned").getByText(/4 tokens/).waitFor();
});

onPage("a sweep's table is there on the next visit", async (page) => {
  await setNumber(page, "Steps", 4);
  await chooseRanks(page, [4, 8]);
  await page.locator("summary").getByText("Start from an existing adapter").click();
  const config = JSON.stringify({ r: 4, lora_alpha: 8, target_modules: ["q_proj"] });
  await page.getByLabel("Adapter files").setInputFiles([file("adapter_config.json", config), file("mine.safetensors", "abcd")]);
  await sweepPanel(page).getByText("Every run of a sweep begins with a new adapter, not with mine.safetensors.").waitFor();
  await startButton(page).click();
  await sweepPanel(page).getByText(/^Take rank 8/).waitFor();
  const before = await rows(page).allTextContents();
  await page.reload();
  await page.getByText("Ready.").waitFor();
  await sweepPanel(page).getByText(/^Take rank 8/).waitFor();
  assert.deepEqual(await rows(page).allTextContents(), before);
  await sweepPanel(page).getByText("The sweep is from an earlier visit; its adapters are among the runs.").waitFor();
});

onPage("tries ranks on several sets of targets, with one alpha for all", async (page) => {
  await setNumber(page, "Steps", 2);
  await chooseRanks(page, [4, 16]);
  await sweepPanel(page).getByRole("checkbox", { name: "attention q, v" }).check();
  await sweepPanel(page).getByLabel("Scaling").selectOption("one alpha for all");
  await setNumber(page, "Alpha for all runs", 24);
  await startButton(page).click();
  await sweepPanel(page).getByText(/^Take rank 16 on attention q, v: /).waitFor();
  const cells = await rows(page).evaluateAll((list) => list.map((row) => [...row.children].map(({ textContent }) => textContent)));
  assert.deepEqual(cells.map(([r, targets, alpha]) => [r, targets, alpha]), [
    ["4", "all linear", "24"],
    ["16", "all linear", "24"],
    ["4", "attention q, v", "24"],
    ["16", "attention q, v", "24"],
  ]);
  const keys = sweepPanel(page).locator(".sweep-key");
  assert.deepEqual(await keys.allTextContents(), ["all linear", "attention q, v"]);
  // Lines are told apart by more than colour.
  const styles = await keys.evaluateAll((list) => list.map((key) => getComputedStyle(key, "::before").borderTopStyle));
  assert.equal(new Set(styles).size, 2);
});

onPage("stops after the run in progress, or at once", async (page) => {
  const step = await holdAfter(page, 10);
  await setNumber(page, "Steps", 20);
  await chooseRanks(page, [4, 8, 16]);
  await startButton(page).click();
  await sweepPanel(page).getByText(/about .* left/).waitFor();
  await sweepPanel(page).getByRole("button", { name: "Stop after this run" }).click();
  await step();
  await startButton(page).and(page.locator(":enabled")).waitFor();
  const states = async () => await rows(page).locator("td:last-child").allTextContents();
  assert.deepEqual((await states()).map((state) => state.split(",")[0]), ["done", "left out", "left out"]);
  await sweepPanel(page).getByText("Only rank 4 has a result").waitFor();

  await setNumber(page, "Steps", 5000);
  await startButton(page).click();
  await sweepPanel(page).getByText(/^Run 1 of 3/).waitFor();
  await sweepPanel(page).getByText(/about .* left/).waitFor();
  await sweepPanel(page).getByRole("button", { name: "Stop now" }).click();
  await startButton(page).and(page.locator(":enabled")).waitFor();
  assert.deepEqual((await states()).map((state) => state.split(",")[0]), ["stopped", "left out", "left out"]);

  // Who stops the run where runs are stopped means the sweep too.
  await startButton(page).click();
  await sweepPanel(page).getByText(/about .* left/).waitFor();
  await panel(page, "Train").getByRole("button", { name: "Stop", exact: true }).click();
  await startButton(page).and(page.locator(":enabled")).waitFor();
  assert.deepEqual((await states()).map((state) => state.split(",")[0]), ["stopped", "left out", "left out"]);
  await trainButton(page).and(page.locator(":enabled")).waitFor();
});

onPage("a run that fails does not end the sweep, a crash does", async (page) => {
  await useFile(page, "not-finite.jsonl", example("a"));
  await page.getByLabel("Held-out file (optional)").setInputFiles(file("eval.jsonl", example("b")));
  await panel(page, "Data").getByText("Held-out data").waitFor();
  await setNumber(page, "Steps", 5);
  await chooseRanks(page, [4, 8]);
  await startButton(page).click();
  await rows(page).nth(1).getByText(/^failed/).waitFor();
  await startButton(page).and(page.locator(":enabled")).waitFor();
  assert.equal(await sweepPanel(page).getByRole("alert").count(), 2);
  await sweepPanel(page).getByText(/Rank 8, all linear: the loss is not a finite number/).waitFor();

  await useFile(page, "device-lost.jsonl", example("a"));
  await page.getByLabel("Held-out file (optional)").setInputFiles(file("eval.jsonl", example("b")));
  await startButton(page).and(page.locator(":enabled")).waitFor();
  await startButton(page).click();
  await page.getByText("The engine has stopped").waitFor();
  await page.getByRole("button", { name: "Start again" }).click();
  await page.getByText("Ready.").or(page.getByText("Ended by an error")).first().waitFor();
  assert.deepEqual(
    (await rows(page).locator("td:last-child").allTextContents()).map((state) => state.split(",")[0]),
    ["failed", "left out"],
  );
});

onPage("what a sweep leaves is the best copy of the best run, also where its loss rose again", async (page) => {
  await page.getByText("Advanced").click();
  await setNumber(page, "Evaluate every", 2);
  await page.getByText("Sampling").first().click();
  await setNumber(page, "Maximum tokens", 4);
  await useFile(page, "overfitted.jsonl", example("a"));
  await page.getByLabel("Held-out file (optional)").setInputFiles(file("eval.jsonl", example("b")));
  await setNumber(page, "Steps", 8);
  await chooseRanks(page, [4, 8]);
  await startButton(page).click();
  await sweepPanel(page).getByText(/^Take rank 8/).waitFor();
  const options = page.getByRole("combobox", { name: "Adapter", exact: true }).locator("optgroup[label=Loaded] option");
  await options.filter({ hasText: "best" }).waitFor({ state: "attached" });
  assert.deepEqual(await options.allTextContents(), ["Sweep: rank 8, all linear, best, step 4"]);
  await page.getByLabel("Prompt", { exact: true }).fill("step?");
  await panel(page, "Compare").getByRole("button", { name: "Generate" }).click();
  await page.locator(".side.tuned").getByText("step 4", { exact: true }).waitFor();
  assert.ok(await page.getByRole("radio", { name: /^The best: step 4/ }).isChecked());
  const zip = page.waitForEvent("download");
  await page.getByRole("button", { name: /^Download PEFT adapter/ }).click();
  const files = unzipSync(await readFile(await (await zip).path()));
  assert.equal(files["adapter_model.safetensors"].at(-1), 4);
});

onPage("the adapters of runs that fail or are stopped do not stay on the GPU", async (page) => {
  const options = page.getByRole("combobox", { name: "Adapter", exact: true }).locator("optgroup[label=Loaded] option");
  await useFile(page, "not-finite.jsonl", example("a"));
  await page.getByLabel("Held-out file (optional)").setInputFiles(file("eval.jsonl", example("b")));
  await panel(page, "Data").getByText("Held-out data").waitFor();
  await setNumber(page, "Steps", 5);
  await chooseRanks(page, [4, 8]);
  await startButton(page).click();
  await rows(page).nth(1).getByText(/^failed/).waitFor();
  await startButton(page).and(page.locator(":enabled")).waitFor();
  assert.deepEqual(await options.allTextContents(), []);
  await page.getByRole("radio", { name: /Plain/ }).check();
  await setNumber(page, "Steps", 20);
  const first = await holdAfter(page, 10);
  await startButton(page).and(page.locator(":enabled")).click();
  // A run knows from its beginning on where it waits.
  const steps = (done) => page.waitForFunction((done) => document.querySelector("[aria-label='Steps of the sweep']")?.value >= done, done);
  await steps(1);
  const second = await holdAfter(page, 11);
  await first();
  await sweepPanel(page).getByText(/^Run 2 of 2/).waitFor();
  await steps(21);
  await sweepPanel(page).getByRole("button", { name: "Stop now" }).click();
  await second();
  await startButton(page).and(page.locator(":enabled")).waitFor();
  assert.deepEqual(await options.allTextContents(), ["Sweep: rank 4, all linear (2)"]);
});

onPage("says that it needs held-out data", async (page) => {
  await page.getByRole("radio", { name: /Markup/ }).check();
  await sweepPanel(page).getByText("A sweep compares held-out losses: hold out some data first.").waitFor();
  assert.ok(await startButton(page).isDisabled());
  await page.getByRole("radio", { name: /Plain/ }).check();
  await sweepPanel(page).getByText(/4 runs of 100 steps/).waitFor();
  await chooseRanks(page, []);
  await sweepPanel(page).getByText("Choose at least one rank and one set of targets.").waitFor();
  assert.ok(await startButton(page).isDisabled());
});

for (const colorScheme of ["light", "dark"]) {
  onPage(
    `axe finds nothing serious in what compares, sweeps and downloads, ${colorScheme}`,
    async (page) => {
      await setNumber(page, "Steps", 2);
      await chooseRanks(page, [4, 8]);
      await sweepPanel(page).getByRole("checkbox", { name: "attention q, v" }).check();
      await startButton(page).click();
      await sweepPanel(page).getByText(/^Take rank/).waitFor();
      await page.getByRole("checkbox", { name: "Chat" }).check();
      await page.getByText("Sampling").click();
      await setNumber(page, "Maximum tokens", 4);
      await page.getByLabel("Message", { exact: true }).fill("Question");
      await panel(page, "Compare").getByRole("button", { name: "Send" }).click();
      await panel(page, "Compare").locator(".side.tuned").getByText(/4 tokens/).waitFor();
      await page.getByRole("checkbox", { name: "Mark differences" }).check();
      await page.getByRole("button", { name: /^Download PEFT adapter/ }).click();
      await panel(page, "Download").getByText(/checked: same logits/).waitFor();
      await page.locator("details").evaluateAll((all) => all.forEach((details) => (details.open = true)));
      const { resolve } = createRequire(join(www, "package.json"));
      await page.evaluate(await readFile(resolve("axe-core/axe.min.js"), "utf8"));
      const { violations } = await page.evaluate(() => window.axe.run(document));
      const serious = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
      assert.deepEqual(serious.map(({ id, nodes }) => [id, ...nodes.map(({ html }) => html.slice(0, 160))]), []);
    },
    { colorScheme },
  );
}
