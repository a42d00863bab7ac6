// Runs: their control and history, with the fake engine.
import assert from "node:assert/strict";
import { download, example, fakePage, holdAfter, trainButton, useFile } from "./fake-page.mjs";
import { file, panel, setNumber, unnamed, unzipSync } from "./harness.mjs";
import { button, done, finish, losses, openRun, rank, rowOf, runsPanel, samplesOff, start, stepNow, train, uninterrupted } from "./runs-page.mjs";

const { built, onPage } = fakePage();

onPage("pauses, makes single steps and goes on, to the same losses", async (page) => {
  await samplesOff(page);
  const step = await holdAfter(page, 5);
  await start(page, 40);
  await button(page, "Pause").focus();
  await page.keyboard.press("Enter");
  await step();
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
  assert.deepEqual(await losses(page), await uninterrupted(built.url, 40));
});

onPage(
  "with the first run the browser is asked, once, to keep what is stored",
  async (page) => {
    await samplesOff(page);
    const asked = () => page.evaluate(() => window.asked);
    assert.equal(await asked(), 0);
    for (const steps of [2, 3]) {
      await finish(page, steps);
      assert.equal(await asked(), 1);
    }
  },
  {
    initScript: () => {
      window.asked = 0;
      StorageManager.prototype.persist = async () => (window.asked++, true);
    },
  },
);

onPage("stops while paused, resumes, and continues with more steps", async (page) => {
  await samplesOff(page);
  const step = await holdAfter(page, 5);
  await start(page, 40);
  await button(page, "Pause").click();
  await step();
  await page.getByText(/Paused at step \d+/).waitFor();
  await button(page, "Stop").click();
  await page.getByText(/Stopped at step \d+/).waitFor();
  const at = await stepNow(page);
  await button(page, `Resume at step ${at}`).click();
  await done(page);
  assert.deepEqual(await losses(page), await uninterrupted(built.url, 40));
  assert.equal(await page.getByRole("button", { name: /^Resume at/ }).count(), 0);

  await train(page).getByRole("button", { name: "Continue with more steps…" }).click();
  await page.getByLabel("More steps").fill("12");
  await button(page, "Continue").click();
  await train(page).getByText("52 of 52", { exact: true }).waitFor();
  await done(page);
  const steps = (await losses(page)).map(([step]) => step);
  assert.deepEqual(steps, Array.from({ length: 52 }, (_, i) => i + 1));
  assert.match(await rowOf(page, "Plain answers, rank 16").textContent(), /finished.*52 of 52/);
  assert.equal(await runsPanel(page).locator("tbody tr").count(), 1);
});

onPage("a tab that dies mid-run loses little: the run resumes to the same losses", async (page) => {
  page.on("dialog", (dialog) => dialog.accept());
  await samplesOff(page);
  await page.getByText("Advanced").click();
  await setNumber(page, "Evaluate every", 5);
  await setNumber(page, "Rank", 4);
  const step = await holdAfter(page, 12);
  await start(page, 40);
  await page.waitForFunction(() => parseInt(document.querySelector(".figures dd").textContent) >= 12);
  await page.reload();
  await step();
  const banner = page.getByRole("region", { name: "Interrupted run" });
  await banner.getByText(/Its state as of step \d+ of 40 is kept/).waitFor();
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
  assert.deepEqual(await losses(page), await uninterrupted(built.url, 40));
  assert.match(await train(page).locator(".held-out").textContent(), /3\.0000 before training/);
  // It had no samples, whatever the page would write for a new run.
  assert.equal(await page.getByRole("region", { name: "Samples" }).count(), 0);
  // A finished run is not offered, and is there with its files after the next reload.
  await page.reload();
  await page.getByText("Ready.").waitFor();
  await openRun(page, "Plain answers, rank 4");
  assert.equal(await banner.count(), 0);
  const { name, bytes } = await download(page, button(page, "Download the last of step 40"));
  assert.equal(name, "story-model-built-in-plain-r4-step-40.zip");
  assert.deepEqual([...unzipSync(bytes)["adapter_model.safetensors"]], [1, 2, 3, 40]);
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

for (const [name, isOffered] of [
  ["device-lost.jsonl", true],
  ["trap.jsonl", true],
  ["not-finite.jsonl", false],
]) {
  onPage(`${isOffered ? "offers" : "does not offer"} the run that ended by ${name} after a reload`, async (page) => {
    await samplesOff(page);
    await page.getByText("Advanced").click();
    await setNumber(page, "Evaluate every", 1);
    await useFile(page, name, example("a"));
    await page.getByLabel("Held-out file (optional)").setInputFiles(file("eval.jsonl", example("b")));
    await panel(page, "Data").getByText("Held-out data").waitFor();
    await trainButton(page).click();
    await page.getByText(isOffered ? "The engine has stopped" : "the loss is not a finite number at step 3").first().waitFor();
    await page.waitForFunction(async () => (await navigator.locks.query()).held.length === 0);
    await page.reload();
    await page.getByText("Ready.").waitFor();
    await runsPanel(page).getByText("failed").waitFor();
    const banner = page.getByRole("region", { name: "Interrupted run" });
    if (isOffered) await banner.getByText(/was ended by an error .* Its state as of step 2 of \d+ is kept/).waitFor();
    else assert.equal(await banner.count(), 0);
  });
}

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

onPage(
  "what a run ends with is kept although the browser is slow to tell how much room there is",
  async (page) => {
    await samplesOff(page);
    await page.getByText("Advanced").click();
    await setNumber(page, "Evaluate every", 1);
    await start(page, 5000);
    await page.waitForFunction(() => parseInt(document.querySelector(".figures dd").textContent) >= 6);
    await button(page, "Stop").click();
    await page.getByText(/Stopped at step \d+/).waitFor();
    const at = await stepNow(page);
    await page.waitForFunction(async () => (await navigator.locks.query()).held.length === 0);
    await page.reload();
    await rowOf(page, "Plain answers, rank 16").getByText("stopped").waitFor();
    await openRun(page, "Plain answers, rank 16");
    await button(page, `Download the last of step ${at}`).waitFor();
  },
  {
    initScript: () => {
      const { estimate } = StorageManager.prototype;
      StorageManager.prototype.estimate = async function () {
        await new Promise((resolve) => setTimeout(resolve, 1000));
        return await estimate.call(this);
      };
    },
  },
);

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
