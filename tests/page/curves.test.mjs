// A run's curves, samples and verdicts, with the fake engine.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { download, example, fakePage, trainButton, useFile } from "./fake-page.mjs";
import { file, loadModules, panel, setNumber, unzipSync } from "./harness.mjs";
import { button, csvOf, finish, openRun, runsPanel, samplesOff, start, train } from "./runs-page.mjs";

const { onPage } = fakePage();

let load;
before(async () => (load = await loadModules()));
after(() => load?.close());

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

onPage("several prompts of one's own are sampled, shown apart, and are in no address and no file of settings", async (page) => {
  await page.getByText("Samples while training").click();
  const field = (number) => page.getByLabel(`Sample prompt ${number}`);
  const own = ["step?", "Secret one", "Secret two", "Secret one"];
  for (const [index, text] of own.entries()) await field(index + 1).fill(text);
  // Four, and no more.
  assert.equal(await page.getByLabel(/^Sample prompt/).count(), 4);
  await setNumber(page, "Sample every", 5);
  await setNumber(page, "Sample length", 1);
  await finish(page, 6);
  const shown = async (samples) =>
    await samples.locator(".sampled").evaluateAll((list) => list.map((one) => [one.querySelector(".asked").textContent, [...one.querySelectorAll(".timeline-text")].map(({ textContent }) => textContent.trim())]));
  const wanted = [
    ["Prompt step?", ["step 0", "step 5", "step 6"]],
    ["Prompt Secret one", ["tuned", "tuned"]],
    ["Prompt Secret two", ["tuned", "tuned"]],
  ];
  assert.deepEqual(await shown(train(page).getByRole("region", { name: "Samples" })), wanted);
  // Without a text it is none.
  await field(2).fill("");
  await field(4).fill("");
  assert.equal(await page.getByLabel(/^Sample prompt/).count(), 4);
  await field(3).fill("");
  assert.equal(await page.getByLabel(/^Sample prompt/).count(), 2);
  await field(2).fill("Secret three");
  await page.waitForFunction(() => location.hash.includes("sample_every=5"));
  await page.waitForTimeout(500);
  assert.doesNotMatch(decodeURIComponent(page.url()), /step\?|Secret/);
  for (const file of await page.getByRole("button", { name: "Download run.json" }).all()) {
    assert.doesNotMatch((await download(page, file)).bytes.toString(), /step\?|Secret/);
  }
  await page.reload();
  await page.getByText("Ready.").waitFor();
  await openRun(page, "Plain answers, rank 16");
  assert.deepEqual(await shown(runsPanel(page).getByRole("region", { name: "Samples" })), wanted);
  // Its prompts are the run's, and not the next one's.
  assert.equal(await field(1).inputValue(), "");
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

onPage("a loss that is not finite, rises or stalls is badged while it does, with what to do, and so is the kept run", async (page) => {
  await samplesOff(page);
  await setNumber(page, "Steps", 1_000_000);
  await page.getByText("Advanced").click();
  await page.getByLabel("Schedule").selectOption("Constant, after warm-up");
  const badge = train(page).locator(".health");
  const badges = [
    ["not-finite.jsonl", "Not finite", "train anew with a lower learning rate"],
    ["rising.jsonl", "Loss is rising", /since step 4\d: a lower learning rate/],
    ["stalled.jsonl", "No progress", "has not fallen for 100 steps"],
  ];
  for (const [name, title, advice] of badges) {
    await useFile(page, name, example("a"));
    await trainButton(page).and(page.locator(":enabled")).click();
    await badge.getByText(title, { exact: true }).waitFor();
    await badge.getByText(advice).waitFor();
    if (title === "Not finite") continue;
    await button(page, "Stop").click();
    await page.getByText(/Stopped at step/).waitFor();
  }
  await page.reload();
  await page.getByText("Ready.").waitFor();
  for (const [name, title] of badges) {
    await openRun(page, `${name}, rank 16`);
    await runsPanel(page).locator(".health").getByText(title, { exact: true }).waitFor();
    await openRun(page, `${name}, rank 16`);
  }
});

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
