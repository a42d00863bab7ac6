// Runs: their control, history, charts and samples, with the fake engine.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { download, example, fakePage, trainButton, useFile } from "./fake-page.mjs";
import { file, loadModules, openPage, panel, setNumber, unnamed, unzipSync } from "./harness.mjs";

const { built, onPage } = fakePage();

let load;
before(async () => (load = await loadModules()));
after(() => load?.close());

const train = (page) => panel(page, "Train");
const runsPanel = (page) => panel(page, "Runs");
const button = (page, name) => page.getByRole("button", { name, exact: true });
const stepNow = async (page) => Number((await train(page).locator(".figures dd").first().textContent()).split(" ")[0]);
const rowOf = (page, name) => runsPanel(page).getByRole("row").filter({ hasText: name });
const openRun = (page, name) => runsPanel(page).getByRole("button", { name, exact: true }).click();

const rank = (page) => page.getByRole("spinbutton", { name: "Rank", exact: true }).inputValue();

async function start(page, steps) {
  await setNumber(page, "Steps", steps);
  await trainButton(page).click();
  await page.getByText(/Training on 4 examples/).waitFor();
}

async function finish(page, steps) {
  await setNumber(page, "Steps", steps);
  await trainButton(page).click();
  await done(page);
}

const done = (page) => train(page).getByText("Done.", { exact: true }).waitFor();

async function samplesOff(page) {
  await page.getByText("Samples while training").click();
  await setNumber(page, "Sample every", 0);
}

async function csvOf(page, title) {
  const { bytes } = await download(page, page.getByRole("button", { name: `Download CSV: ${title}` }));
  const [header, ...rows] = bytes.toString().trimEnd().split("\r\n").map((line) => line.split(","));
  return { header, rows };
}

/** Loss by step, of the run of this tab. */
async function losses(page) {
  // Counted from the end: the title may hold commas.
  return (await csvOf(page, "Loss")).rows.filter((row) => row.at(-3) !== "").map((row) => [row.at(-4), row.at(-3)].map(Number));
}

/** A run of so many steps without a pause, for comparison. */
async function uninterrupted(steps) {
  const { page, close } = await openPage(built.url);
  await page.getByText("Ready.").waitFor();
  await samplesOff(page);
  await finish(page, steps);
  const curve = await losses(page);
  await close();
  return curve;
}

test("rules for a run that goes badly", async () => {
  const { judge, smooth } = await load("session/health.ts");
  const curve = (length, loss, lr = () => 1e-3) =>
    Array.from({ length }, (_, i) => ({ step: i + 1, loss: loss(i), grad_norm: 1, lr: lr(i) }));
  const falling = (i) => 3 * Math.exp(-i / 50);
  assert.deepEqual(smooth([2, 2, 2], 0.9).map((value) => value.toFixed(6)), ["2.000000", "2.000000", "2.000000"]);
  assert.deepEqual(smooth([1, Number.NaN, 1], 0.5), [1, 1, 1]);
  assert.deepEqual(smooth([3, 1], 0), [3, 1]);
  assert.equal(judge([], []), undefined);
  assert.equal(judge(curve(300, falling), [{ step: 0, loss: 3 }, { step: 300, loss: 1 }]), undefined);
  assert.equal(judge(curve(10, (i) => (i === 9 ? Number.NaN : 1)), []).kind, "not-finite");
  assert.equal(judge(curve(10, (i) => (i === 9 ? Infinity : 1)), []).kind, "not-finite");
  // Rises by 2 % of its value a step from step 60 on.
  const rising = (i) => (i < 60 ? falling(i) : falling(60) * (1 + (i - 60) / 50));
  assert.equal(judge(curve(100, rising), []).kind, "rising");
  assert.equal(judge(curve(62, rising), []), undefined);
  // Noise of a tenth around a falling loss is no rise, and a flat one is none either.
  const noisy = (i) => falling(i) * (1 + 0.1 * Math.sin(i * 12.9898));
  assert.equal(judge(curve(200, noisy), []), undefined);
  assert.equal(judge(curve(100, () => 1), []), undefined);
  assert.equal(judge(curve(200, (i) => 1 + 0.001 * Math.sin(i)), []).kind, "stalled");
  // At the end of a schedule nothing more is expected.
  assert.equal(judge(curve(200, () => 1, (i) => 1e-3 * (1 - i / 200)), []), undefined);
  const held = (...values) => values.map((loss, i) => ({ step: 20 * i, loss }));
  const apart = judge(curve(100, falling), held(3, 2, 1.5, 1.6, 1.7, 1.8));
  assert.equal(apart.kind, "overfitting");
  assert.match(apart.advice, /adapter of step 40/);
  assert.equal(judge(curve(100, falling), held(3, 2, 1.5, 1.6, 1.49)), undefined);
  assert.equal(judge(curve(100, falling), held(3, 2, 1.5, 1.6)), undefined);
});

onPage("pauses, makes single steps and goes on, to the same losses", async (page) => {
  await samplesOff(page);
  await start(page, 40);
  await button(page, "Pause").focus();
  await page.keyboard.press("Enter");
  await page.getByText(/Paused at step \d+/).waitFor();
  // Focus stays on the button that pauses and goes on.
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Go on");
  const at = await stepNow(page);
  await page.waitForTimeout(200);
  assert.equal(await stepNow(page), at);
  for (const next of [at + 1, at + 2]) {
    await button(page, "Step").click();
    await page.getByText(`Paused at step ${next}`).waitFor();
  }
  // The engine is free meanwhile.
  await page.getByRole("button", { name: "Generate" }).click();
  await page.locator(".side.tuned").getByText("100 tokens").waitFor();
  assert.equal(await stepNow(page), at + 2);
  await button(page, "Go on").click();
  await done(page);
  assert.deepEqual(await losses(page), await uninterrupted(40));
});

onPage("stops while paused, resumes, and continues with more steps", async (page) => {
  await samplesOff(page);
  await start(page, 120);
  await button(page, "Pause").click();
  await page.getByText(/Paused at step \d+/).waitFor();
  await button(page, "Stop").click();
  await page.getByText(/Stopped at step \d+/).waitFor();
  const at = await stepNow(page);
  await button(page, `Resume at step ${at}`).click();
  await done(page);
  assert.deepEqual(await losses(page), await uninterrupted(120));
  assert.equal(await page.getByRole("button", { name: /^Resume at/ }).count(), 0);

  await train(page).getByRole("button", { name: "Continue with more steps…" }).click();
  await page.getByLabel("More steps").fill("12");
  await button(page, "Continue").click();
  await train(page).getByText("132 of 132", { exact: true }).waitFor();
  await done(page);
  const steps = (await losses(page)).map(([step]) => step);
  assert.deepEqual(steps, Array.from({ length: 132 }, (_, i) => i + 1));
  assert.match(await rowOf(page, "Plain answers, rank 16").textContent(), /finished.*132 of 132/);
  assert.equal(await runsPanel(page).locator("tbody tr").count(), 1);
});

onPage("a tab that dies mid-run loses little: the run resumes to the same losses", async (page) => {
  page.on("dialog", (dialog) => dialog.accept());
  await samplesOff(page);
  await page.getByText("Advanced").click();
  await setNumber(page, "Evaluate every", 5);
  await setNumber(page, "Rank", 4);
  await start(page, 60);
  await page.waitForFunction(() => parseInt(document.querySelector(".figures dd").textContent) >= 12);
  await page.reload();
  const banner = page.getByRole("region", { name: "Interrupted run" });
  await banner.getByText(/Its state as of step \d+ of 60 is kept/).waitFor();
  assert.match(await rowOf(page, "Plain answers, rank 4").textContent(), /interrupted/);
  await page.getByText("Ready.").waitFor();
  const kept = Number(/as of step (\d+)/.exec(await banner.textContent())[1]);
  assert.equal(kept % 5, 0);
  await button(page, "Resume the last run").click();
  await page.getByText(/Training on 4 examples/).waitFor();
  await banner.waitFor({ state: "detached" });
  // The page shows the run's settings.
  assert.equal(await rank(page), "4");
  await done(page);
  assert.deepEqual(await losses(page), await uninterrupted(60));
  assert.match(await train(page).locator(".held-out").textContent(), /3\.0000 before training/);
  // It had no samples, whatever the page would write for a new run.
  assert.equal(await page.getByRole("region", { name: "Samples" }).count(), 0);
  // A finished run is not offered, and is there with its files after the next reload.
  await page.reload();
  await page.getByText("Ready.").waitFor();
  await openRun(page, "Plain answers, rank 4");
  assert.equal(await banner.count(), 0);
  const { name, bytes } = await download(page, button(page, "Download the last of step 60"));
  assert.equal(name, "story-model-built-in-plain-r4-step-60.zip");
  assert.deepEqual([...unzipSync(bytes)["adapter_model.safetensors"]], [1, 2, 3, 60]);
});

onPage("a run on files of the user's resumes after the tab is gone, with its data", async (page) => {
  page.on("dialog", (dialog) => dialog.accept());
  await samplesOff(page);
  await page.getByText("Advanced").click();
  await setNumber(page, "Evaluate every", 4);
  await useFile(page, "mine.jsonl", example("a"));
  await page.getByLabel("Held-out file (optional)").setInputFiles(file("eval.jsonl", example("b")));
  await panel(page, "Data").getByText("Held-out data").waitFor();
  await start(page, 5000);
  await page.waitForFunction(() => parseInt(document.querySelector(".figures dd").textContent) >= 6);
  await page.reload();
  await page.getByText("Ready.").waitFor();
  await button(page, "Resume the last run").click();
  await page.getByText(/Training on 4 examples/).waitFor();
  await panel(page, "Data").getByText("mine.jsonl").first().waitFor();
  await button(page, "Stop").click();
  await page.getByText(/Stopped at step \d+/).waitFor();
});

onPage("after the engine is lost the run can be resumed", async (page) => {
  await samplesOff(page);
  await page.getByText("Advanced").click();
  await setNumber(page, "Evaluate every", 1);
  await useFile(page, "device-lost.jsonl", example("a"));
  await page.getByLabel("Held-out file (optional)").setInputFiles(file("eval.jsonl", example("b")));
  await panel(page, "Data").getByText("Held-out data").waitFor();
  await trainButton(page).click();
  await button(page, "Start again").click();
  await runsPanel(page).getByText("failed").waitFor();
  // The fake loses its device at the same step again: the run did go on.
  await button(page, "Resume at step 2").click();
  await page.getByText("The engine has stopped").waitFor();
});

onPage("two tabs do not take each other's runs", async (page, opened) => {
  await samplesOff(page);
  await page.getByText("Advanced").click();
  await setNumber(page, "Evaluate every", 5);
  await start(page, 5000);
  await page.waitForFunction(() => parseInt(document.querySelector(".figures dd").textContent) >= 6);
  const second = await page.context().newPage();
  await second.goto(built.url);
  await second.getByText("Ready.").waitFor();
  await rowOf(second, "Plain answers, rank 16").getByText("running in another tab").waitFor();
  assert.equal(await second.getByRole("region", { name: "Interrupted run" }).count(), 0);
  await openRun(second, "Plain answers, rank 16");
  assert.ok(await button(second, "Resume").isDisabled());
  assert.ok(await button(second, "Delete…").isDisabled());
  // A name given here is not overwritten by the tab that trains.
  await second.getByLabel("Name of the run").fill("Renamed");
  await button(second, "Rename").click();
  await runsPanel(page).getByText("Renamed").first().waitFor();
  await second.bringToFront();
  await samplesOff(second);
  await finish(second, 3);
  await page.bringToFront();
  await rowOf(page, "Plain answers, rank 16").getByText("finished").waitFor();
  await button(page, "Stop").click();
  await page.getByText(/Stopped at step \d+/).waitFor();
  await rowOf(second, "Renamed").getByText("stopped").waitFor();
  await second.getByRole("button", { name: "Resume", exact: true }).click();
  await second.getByText(/Training on 4 examples/).waitFor();
  await rowOf(page, "Renamed").getByText("running in another tab").waitFor();
  // The other tab dies: its run is this one's again.
  await second.close();
  await rowOf(page, "Renamed").getByText("interrupted").waitFor();
  void opened;
});

onPage("runs are listed, sorted, renamed and deleted", async (page) => {
  await samplesOff(page);
  await finish(page, 4);
  await setNumber(page, "Rank", 2);
  await finish(page, 6);
  await finish(page, 5);
  const names = () => runsPanel(page).locator("tbody th").allTextContents();
  assert.deepEqual(await names(), ["Plain answers, rank 2 (2)", "Plain answers, rank 2", "Plain answers, rank 16"]);
  await runsPanel(page).getByRole("button", { name: "Steps" }).click();
  assert.deepEqual(await names(), ["Plain answers, rank 2", "Plain answers, rank 2 (2)", "Plain answers, rank 16"]);
  await runsPanel(page).getByRole("button", { name: "Steps" }).click();
  assert.deepEqual(await names(), ["Plain answers, rank 16", "Plain answers, rank 2 (2)", "Plain answers, rank 2"]);
  assert.equal(await runsPanel(page).locator("[aria-sort=ascending]").textContent(), "Steps ↑");

  await openRun(page, "Plain answers, rank 16");
  await button(page, "Apply its settings").click();
  assert.equal(await rank(page), "16");
  await page.getByLabel("Name of the run").fill("<b>First</b>");
  await button(page, "Rename").click();
  await runsPanel(page).getByRole("button", { name: "<b>First</b>" }).waitFor();
  // Two of one name could not be told apart.
  await page.getByLabel("Name of the run").fill("Plain answers, rank 2");
  await button(page, "Rename").click();
  await runsPanel(page).getByRole("button", { name: "Plain answers, rank 2 (3)" }).waitFor();
  await page.getByLabel("Name of the run").fill("<b>First</b>");
  await button(page, "Rename").click();
  await button(page, "Compare with the last (step 4)").click();
  await page.getByRole("button", { name: "Generate" }).click();
  await page.locator(".side.tuned").getByText("100 tokens").first().waitFor();
  await runsPanel(page).getByText(/The runs’ files take \d+ KiB/).waitFor();
  assert.deepEqual(await unnamed(page), []);

  await button(page, "Delete…").click();
  await page.getByText("Delete “<b>First</b>” with its curves and adapters?").waitFor();
  await button(page, "Keep").click();
  assert.equal((await names()).length, 3);
  await button(page, "Delete…").click();
  await button(page, "Delete for good").click();
  await page.waitForFunction(() => document.querySelectorAll(".runs tbody th").length === 2);
  await page.reload();
  await page.getByText("Ready.").waitFor();
  await page.waitForFunction(() => document.querySelectorAll(".runs tbody th").length === 2);
  assert.deepEqual(await names(), ["Plain answers, rank 2 (2)", "Plain answers, rank 2"]);
});

onPage("curves are overlaid, read, zoomed and saved", async (page) => {
  await samplesOff(page);
  await finish(page, 12);
  await setNumber(page, "Rank", 2);
  await finish(page, 20);
  const legend = page.getByRole("list", { name: "Lines of the loss" });
  assert.deepEqual(await legend.locator("li").allTextContents(), ["training loss", "held-out loss"]);
  await page.getByLabel("Curves of Plain answers, rank 16").check();
  await legend.getByText("B, Plain answers, rank 16").waitFor();
  assert.equal(await legend.locator("line").getAttribute("stroke-dasharray"), "12 4");
  const { header, rows } = await csvOf(page, "Loss");
  assert.deepEqual(header, ["run", "step", "loss", "smoothed_loss", "eval_loss"]);
  // Titles have commas: they are quoted, and split into two here.
  assert.deepEqual(rows.map(([name, rank]) => `${name},${rank}`).filter((name, i, all) => all.indexOf(name) === i), [
    '"Plain answers, rank 2"',
    '"Plain answers, rank 16"',
  ]);
  assert.equal(rows.length, 21 + 13);
  assert.deepEqual(rows[0].slice(2), ["0", "", "", "3"]);
  const [, , step, loss, smoothed] = rows[5];
  assert.equal(step, "5");
  assert.ok(Math.abs(Number(loss) - (3 * Math.exp(-5 / 20) + 0.1)) < 0.11);
  assert.notEqual(smoothed, loss);
  const rates = await csvOf(page, "Learning rate");
  assert.deepEqual(rates.header, ["run", "step", "learning_rate"]);
  assert.equal(rates.rows.length, 20 + 12);

  // The read-out, by key and by pointer.
  const chart = page.getByRole("img", { name: /^Loss by step, 20 steps/ });
  const figure = page.locator(".plot:not(.small)");
  await chart.focus();
  await page.keyboard.press("ArrowRight");
  await figure.getByText(/^step 20, training \d\.\d{4}, held-out/).waitFor();
  await page.keyboard.press("ArrowLeft");
  await figure.getByText(/^step 19, training/).waitFor();
  // The other charts show the same step.
  await page.locator(".plot.small").first().getByText(/^step 19, /).waitFor();
  const cursor = await page.locator(".plot.small .u-cursor-x").first().boundingBox();
  assert.ok(cursor.x > (await page.locator(".plot.small .u-over").first().boundingBox()).x + 50);
  // Zoom, by key, by dragging, and back.
  const all = button(page, "Show all steps");
  assert.equal(await all.getAttribute("aria-disabled"), "true");
  await page.keyboard.press("+");
  await page.waitForFunction(() => document.activeElement.matches(".plot-area"));
  assert.equal(await all.getAttribute("aria-disabled"), "false");
  await page.keyboard.press("0");
  assert.equal(await all.getAttribute("aria-disabled"), "true");
  const box = await figure.locator(".u-over").boundingBox();
  const y = box.y + box.height / 2;
  await page.mouse.move(box.x + box.width * 0.3, y);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.7, y, { steps: 4 });
  await page.mouse.up();
  assert.equal(await all.getAttribute("aria-disabled"), "false");
  await page.mouse.move(box.x + 2, y);
  // At the left edge: 0.3 of 20 steps, drawn with the next frame.
  await figure.locator(".readout").getByText(/^step [5-8],/).waitFor();
  await figure.locator(".u-over").dblclick();
  assert.equal(await all.getAttribute("aria-disabled"), "true");
  // Smoothing: none makes the averages the losses.
  await page.getByLabel("Smoothing").fill("0");
  const raw = (await csvOf(page, "Loss")).rows.filter((row) => row[3] !== "");
  assert.ok(raw.every((row) => row[3] === row[4]));
  await page.getByLabel("Log scale").check();
  await page.locator(".plot canvas").first().waitFor();
  // After a reload the kept curves can still be drawn.
  await page.reload();
  await page.getByText("Ready.").waitFor();
  await page.getByLabel("Curves of Plain answers, rank 16").check();
  assert.equal((await csvOf(page, "GPU memory")).rows.length, 12);
});

onPage("samples follow the run, step by step, and stay with it", async (page) => {
  await page.getByText("Samples while training").click();
  await page.getByText(/“What is a postil\?” and “What is a <b>margin<\/b>\?”/).waitFor();
  await page.getByLabel("Sample prompt").fill("step?");
  await setNumber(page, "Sample every", 5);
  await finish(page, 12);
  const items = train(page).getByRole("region", { name: "Samples" }).locator("li");
  assert.deepEqual(await items.allTextContents(), [
    "Before trainingstep 0",
    "Step 5step 5",
    "Step 10step 10",
    "Step 12step 12",
  ]);
  await page.reload();
  await page.getByText("Ready.").waitFor();
  await openRun(page, "Plain answers, rank 16");
  assert.equal(await runsPanel(page).getByRole("region", { name: "Samples" }).locator("li").count(), 4);
});

onPage("a pause and a stop do not wait for samples, which are made up for", async (page) => {
  await page.getByText("Samples while training").click();
  await page.getByLabel("Sample prompt").fill("A long answer, please");
  await setNumber(page, "Sample length", 256);
  await setNumber(page, "Sample every", 3);
  await start(page, 5000);
  // The samples before training are being written: 2.5 seconds.
  await button(page, "Pause").click();
  await page.getByText("Paused at step 0").waitFor({ timeout: 1500 });
  await button(page, "Go on").click();
  const items = train(page).getByRole("region", { name: "Samples" }).locator("li");
  await items.first().getByText("Before training").waitFor();
  await page.waitForFunction(() => document.querySelector(".figures dd").textContent.startsWith("3 "));
  await button(page, "Stop").click();
  await page.getByText("Stopped at step 3").waitFor({ timeout: 1500 });
  assert.equal(await items.count(), 1);
});

onPage("says when a run overfits, and offers the best adapter", async (page) => {
  await page.getByText("Advanced").click();
  await setNumber(page, "Evaluate every", 2);
  await samplesOff(page);
  await useFile(page, "overfitted.jsonl", example("a"));
  await page.getByLabel("Held-out file (optional)").setInputFiles(file("eval.jsonl", example("b")));
  await panel(page, "Data").getByText("Held-out data").waitFor();
  await finish(page, 14);
  await train(page).getByText("Overfitting", { exact: true }).waitFor();
  await train(page).getByText(/take the adapter of step 4/).waitFor();
  await openRun(page, "overfitted.jsonl, rank 16");
  const { bytes } = await download(page, button(page, "Download the best of step 4"));
  assert.equal(unzipSync(bytes)["adapter_model.safetensors"].at(-1), 4);
  await page.reload();
  await page.getByText("Ready.").waitFor();
  await openRun(page, "overfitted.jsonl, rank 16");
  await button(page, "Compare with the best (step 4)").click();
  await page.getByLabel("Prompt", { exact: true }).fill("step?");
  await page.getByRole("button", { name: "Generate" }).click();
  await page.locator(".side.tuned").getByText("step 4", { exact: true }).waitFor();
});

onPage("a loss that is not finite is badged", async (page) => {
  await useFile(page, "not-finite.jsonl", example("a"));
  await trainButton(page).click();
  await train(page).getByText("Not finite", { exact: true }).waitFor();
});

onPage("says that the tab was hidden, and that the screen stays on", async (page) => {
  await samplesOff(page);
  await start(page, 5000);
  await page.getByText("The screen stays on while the run goes on.").waitFor();
  const hide = (hidden) =>
    page.evaluate((hidden) => {
      Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
      document.dispatchEvent(new Event("visibilitychange"));
    }, hidden);
  await hide(true);
  await page.waitForTimeout(1200);
  await hide(false);
  await train(page).getByText(/The tab was hidden for \d+ s of the run/).waitFor();
  await button(page, "Stop").click();
  await page.getByText(/Stopped at step \d+/).waitFor();
  assert.equal(await page.getByText("The screen stays on").count(), 0);
}, {
  initScript: () => {
    // A headless browser grants no lock of its own.
    Object.defineProperty(navigator, "wakeLock", {
      value: { request: async () => Object.assign(new EventTarget(), { release: async () => {} }) },
    });
  },
});

onPage(
  "a browser that refuses storage trains, pauses and resumes all the same",
  async (page) => {
    await samplesOff(page);
    await runsPanel(page).getByText("This browser keeps no runs").waitFor();
    await start(page, 5000);
    await button(page, "Stop").click();
    await page.getByText(/Stopped at step \d+/).waitFor();
    const at = await stepNow(page);
    await button(page, `Resume at step ${at}`).click();
    await page.getByText(/Training on 4 examples/).waitFor();
    await button(page, "Stop").click();
    await page.getByText(/Stopped at step \d+/).waitFor();
    assert.equal(await runsPanel(page).getByText("This browser keeps no runs").count(), 1);
    await page.reload();
    await page.getByText("Ready.").waitFor();
    assert.equal(await runsPanel(page).getByRole("row").count(), 0);
  },
  {
    initScript: () => {
      IDBFactory.prototype.open = () => {
        throw new DOMException("refused", "SecurityError");
      };
    },
  },
);

onPage(
  "a full storage is said once and stops no run",
  async (page) => {
    await page.getByText("Advanced").click();
    await setNumber(page, "Evaluate every", 2);
    await samplesOff(page);
    await finish(page, 9);
    assert.equal(await runsPanel(page).getByText("The browser’s storage is full").count(), 1);
    await train(page).getByRole("button", { name: "Continue with more steps…" }).click();
    await page.getByLabel("More steps").fill("3");
    await button(page, "Continue").click();
    await train(page).getByText("12 of 12", { exact: true }).waitFor();
    assert.equal((await losses(page)).length, 12);
  },
  {
    initScript: () => {
      const { put } = IDBObjectStore.prototype;
      IDBObjectStore.prototype.put = function (value, key) {
        if (this.name === "files" && /checkpoint/.test(key)) throw new DOMException("full", "QuotaExceededError");
        return put.call(this, value, key);
      };
    },
  },
);

onPage(
  "runs and charts fit a narrow screen",
  async (page) => {
    await samplesOff(page);
    await finish(page, 4);
    await openRun(page, "Plain answers, rank 16");
    const { scroll, client } = await page.evaluate(() => ({
      scroll: document.documentElement.scrollWidth,
      client: document.documentElement.clientWidth,
    }));
    assert.ok(scroll <= client, `${scroll} > ${client}`);
  },
  { viewport: { width: 375, height: 740 }, colorScheme: "dark" },
);
