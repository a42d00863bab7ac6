// The studio on the real engine: what must be the same is compared to the last bit with one run from start to end.
import assert from "node:assert/strict";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { KEEPS_DEVICE, openPage, panel, remove, setNumber } from "./harness.mjs";
import { answersAtOnce } from "./latency.mjs";
import { done, downloadAdapter, realPage, saved, smallRun, TIMEOUT, trainButton } from "./real-page.mjs";

const { built, onPage } = realPage();

const STEPS = 6;
const RUN = { steps: STEPS, evalSteps: 3 };
const button = (page, name) => page.getByRole("button", { name, exact: true });
const paused = (page, step = "\\d+") => page.getByText(new RegExp(`Paused at step ${step}\\.`)).waitFor();
const atStep = (page, step) =>
  page.waitForFunction((step) => parseInt(document.querySelector(".figures dd")?.textContent) >= step, step);

/** Everything of a run that must not depend on how it was made. */
async function outcome(page) {
  const log = await saved(page, page.getByRole("button", { name: /^Download .*log\.jsonl$/ }));
  const steps = log.toString().trim().split("\n").map((line) => JSON.parse(line));
  const curve = steps.map(({ step, loss, grad_norm, lr, eval_loss }) => ({ step, loss, grad_norm, lr, eval_loss }));
  const { files } = await downloadAdapter(page);
  const [config, model] = ["adapter_config.json", "adapter_model.safetensors"].map((name) => Buffer.from(files[name]).toString("base64"));
  return { curve, config, model };
}

/** Of the run without a pause; the first test makes it. */
let whole;

const isWhole = async (page) => {
  assert.ok(whole, "there is no run to compare with: the test that makes it has failed");
  assert.deepEqual(await outcome(page), whole);
};

onPage("one page: train, type meanwhile, compare, pause, sweep, drop", async (page, _, t) => {
  await smallRun(page, RUN);

  await t.test("a run ends with a checked download, and the page answers at once meanwhile", async () => {
    await trainButton(page).click();
    await atStep(page, 0);
    await answersAtOnce(page, t);
    await done(page);
    whole = await outcome(page);
    assert.deepEqual(whole.curve.map(({ step }) => step), Array.from({ length: STEPS }, (_, i) => i + 1));
    assert.equal(whole.curve.filter(({ eval_loss }) => eval_loss !== undefined).length, STEPS / RUN.evalSteps);
  });

  await t.test("at 0 % the adapter gives the base's text", async () => {
    const compare = panel(page, "Compare");
    await setNumber(page, "Maximum tokens", 24);
    await button(compare, "Clear all").click();
    await button(compare, "Generate").click();
    const tuned = compare.locator(".side.tuned");
    await tuned.getByText(/\d+ tokens, /).waitFor();
    const texts = async () => await compare.locator(".written").allTextContents();
    // So few steps need not show in a text; those of a whole run do, in train.test.mjs.
    const [base] = await texts();
    await page.getByRole("checkbox", { name: "Mark differences" }).check();
    // To the left end by one key.
    await page.getByRole("slider", { name: /strength/ }).press("Home");
    await tuned.getByText(/, at 0 %/).waitFor();
    await tuned.getByText(/the same text as the base’s/).waitFor();
    assert.deepEqual(await texts(), [base, base]);
    await setNumber(page, "Maximum tokens", 4);
  });

  await t.test("paused, made step by step and gone on with, a run is the same", async () => {
    await trainButton(page).click();
    await page.getByText(/Training on/).waitFor();
    await button(page, "Pause").click();
    await paused(page);
    const at = parseInt(await page.locator(".figures dd").first().textContent());
    assert.ok(at < STEPS - 2, `paused at step ${at}: too late to see anything`);
    await button(page, "Step").click();
    await paused(page, at + 1);
    // The engine is free meanwhile.
    await button(page, "Generate").click();
    await page.locator(".side.tuned").first().getByText(/\d+ tokens, /).waitFor();
    await button(page, "Go on").click();
    await done(page);
    await isWhole(page);
  });

  await t.test("a sweep of two ranks gives two rows and says which to take", async () => {
    await setNumber(page, "Steps", 2);
    const sweep = panel(page, "Sweep");
    for (const r of [1, 2, 4, 8, 16, 32, 64, 128, 256]) {
      await sweep.getByRole("checkbox", { name: String(r), exact: true }).setChecked([2, 8].includes(r));
    }
    await sweep.getByRole("button", { name: "Start the sweep" }).click();
    await sweep.getByText(/^(Take|Only) rank [28]/).waitFor();
    const rows = await sweep
      .getByRole("group", { name: "Runs of the sweep" })
      .locator("tbody tr")
      .evaluateAll((list) => list.map((row) => [...row.children].map(({ textContent }) => textContent)));
    assert.deepEqual(rows.map(([r]) => r), ["2", "8"]);
    for (const row of rows) {
      assert.match(row[4], /^\d+\.\d{4}$/);
      assert.match(row[6], /^done/);
    }
    assert.equal(rows.filter((row) => /take this/.test(row[6])).length, 1);
  });

  await t.test("a bad file that is dropped gives one error, and the good one is taken back", async () => {
    const drop = async (title, name, text) => {
      const dataTransfer = await page.evaluateHandle(
        ([name, text]) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([text], name));
          return transfer;
        },
        [name, text],
      );
      await panel(page, title).dispatchEvent("dragover", { dataTransfer });
      await panel(page, title).dispatchEvent("drop", { dataTransfer });
    };
    await drop("Data", "bad.jsonl", "{broken\n");
    await panel(page, "Data").getByRole("alert").getByText(/line 1/i).waitFor();
    assert.equal(await page.getByRole("alert").count(), 1);
    assert.ok(await trainButton(page).isDisabled());
    await page.getByRole("radio", { name: /Your own file/ }).locator("xpath=ancestor::fieldset").getByRole("radio").first().check();
    await page.getByRole("alert").waitFor({ state: "detached" });

    const name = await panel(page, "Model").locator(".model-name").textContent();
    await drop("Model", "model.gguf", "GGUF, but no more");
    const alert = panel(page, "Model").getByRole("alert");
    await alert.getByText(/model\.gguf/).waitFor();
    assert.equal(await page.getByRole("alert").count(), 1);
    // The model before is still there.
    await panel(page, "Model").locator(".model-name").getByText(name).waitFor();
    await trainButton(page).and(page.locator(":enabled")).waitFor();
  });
});

let profile;
before(async () => (profile = await mkdtemp(join(tmpdir(), "postil-profile-"))));
after(async () => await remove(profile));

test("a tab that is killed and a device that is lost cost a run nothing but time", { timeout: TIMEOUT }, async () => {
  const { page: first, context, problems, close } = await openPage(built.url, { profile, workerScript: KEEPS_DEVICE });
  await first.getByText("Ready.").waitFor();
  await smallRun(first, RUN);
  await trainButton(first).click();
  await atStep(first, 4);
  // Its process, without a word to the page.
  const crashed = first.waitForEvent("crash");
  const session = await context.newCDPSession(first);
  session.send("Page.crash").catch(() => {});
  await crashed;
  await first.close();

  const page = await context.newPage();
  page.on("pageerror", (error) => problems.push(`page error: ${error.message}`));
  await page.goto(built.url);
  const banner = page.getByRole("region", { name: "Interrupted run" });
  assert.match(await banner.textContent(), new RegExp(`Its state as of step [3-5] of ${STEPS} is kept`));
  await page.getByText("Ready.").waitFor();
  await page.getByText("Sampling", { exact: true }).click();
  await setNumber(page, "Maximum tokens", 4);
  await button(page, "Resume the last run").click();
  await page.getByText(/Training on/).waitFor();
  await atStep(page, 5);

  const [worker] = page.workers();
  await worker.evaluate(() => self.lastDevice.destroy());
  await page.getByText("The engine has stopped").waitFor();
  assert.equal(await page.getByRole("alert").count(), 1);
  await page.getByText("The GPU was taken away").waitFor();
  await button(page, "Start again").click();
  await page.getByRole("button", { name: /^Resume at step [3-5]$/ }).click();
  await done(page);
  await isWhole(page);
  await close();
});

/** Presses Tab, or its reverse, until what has the focus has this name. */
async function tabTo(page, name, key = "Tab") {
  const passed = [];
  for (let i = 0; i < 250; i++) {
    await page.keyboard.press(key);
    const at = await page.evaluate(() => {
      const { activeElement: on } = document;
      return (on.getAttribute("aria-label") ?? on.labels?.[0]?.textContent ?? on.textContent).trim();
    });
    if (name.test ? name.test(at) : name === at) return;
    passed.push(at.slice(0, 30));
  }
  throw new Error(`${key} does not lead to ${name}, but to ${passed.join(", ")}`);
}

async function type(page, name, value) {
  await tabTo(page, name);
  await page.keyboard.press("Control+A");
  await page.keyboard.type(String(value));
}

onPage(
  "without a network, and from arrival to a checked download by the keyboard alone",
  async (page, { context }) => {
    await page.evaluate(async () => void (await navigator.serviceWorker.ready));
    await context.setOffline(true);
    await page.reload();
    await page.getByText("Ready.").waitFor();

    await type(page, "Rank", 4);
    await type(page, "Steps", 2);
    await type(page, "Batch size", 2);
    await tabTo(page, "Advanced");
    await page.keyboard.press("Enter");
    await type(page, "Maximum length", 32);
    await tabTo(page, "Samples while training");
    await page.keyboard.press("Enter");
    await type(page, "Sample every", 0);
    await tabTo(page, "Sampling");
    await page.keyboard.press("Space");
    await type(page, "Maximum tokens", 4);
    await panel(page, "Data").getByText(/cut to 32 tokens/).first().waitFor();
    await tabTo(page, "Train", "Shift+Tab");
    await page.keyboard.press("Enter");
    await done(page);
    await tabTo(page, /^Download PEFT adapter/);
    const waiting = page.waitForEvent("download");
    await page.keyboard.press("Enter");
    await waiting;
    await panel(page, "Download").getByText(/checked: same logits as/).waitFor();
  },
  { serviceWorkers: "allow" },
);
