// Commands that wait for the worker: those that are overtaken by others are not done.
import assert from "node:assert/strict";
import { example, fakePage, holdPlans, trainButton, useFile } from "./fake-page.mjs";
import { panel, setNumber } from "./harness.mjs";

const { onPage } = fakePage();

const stopButton = (page) => page.getByRole("button", { name: "Stop", exact: true });

/** Counts the plans that the worker is asked for, and those that it leaves out. */
const watched = () => {
  window.plans = { asked: 0, refused: 0 };
  window.commands = [];
  const ids = new Set();
  const Original = window.Worker;
  window.Worker = class extends Original {
    constructor(...args) {
      super(...args);
      this.addEventListener("message", ({ data }) => {
        if (ids.has(data.id) && data.failure?.kind === "Cancelled") window.plans.refused++;
      });
    }
    postMessage(message, ...rest) {
      window.commands.push(message.command);
      if (message.command === "plan_memory") {
        ids.add(message.id);
        window.plans.asked++;
      }
      super.postMessage(message, ...rest);
    }
  };
};

const plans = (page) => page.evaluate(() => ({ ...window.plans }));

onPage("Stop before the run has begun takes it back, and the next one trains", async (page) => {
  await setNumber(page, "Steps", 4);
  await page.waitForTimeout(500);
  const before = (await plans(page)).asked;
  const plan = await holdPlans(page);
  await useFile(page, "held-plans.jsonl", example("a"));
  await page.waitForFunction((before) => window.plans.asked > before, before);
  await trainButton(page).click();
  await stopButton(page).click();
  await plan();
  await panel(page, "Train").getByText("Ready.").waitFor();
  assert.equal(await page.locator(".run-name").count(), 0);
  await trainButton(page).click();
  await panel(page, "Train").getByText("Done.", { exact: true }).waitFor();
  assert.equal(await page.locator(".run-name").count(), 1);
}, { initScript: watched });

onPage("of the plans that wait only the newest is made", async (page) => {
  const plan = await holdPlans(page);
  const before = (await plans(page)).asked;
  await useFile(page, "held-plans.jsonl", example("a"));
  await page.waitForFunction((before) => window.plans.asked > before, before);
  for (const [size, asked] of [[2, 2], [3, 3], [4, 4], [5, 5]]) {
    await setNumber(page, "Batch size", size);
    await page.waitForFunction((wanted) => window.plans.asked >= wanted, before + asked);
  }
  await plan();
  await page.getByText("330 MiB").first().waitFor();
  const { asked, refused } = await plans(page);
  assert.ok(refused >= 2 && refused < asked, `${refused} of ${asked} refused`);
}, { initScript: watched });

onPage("a setting that changes how data is read sends the file once, not for its rows and columns again", async (page) => {
  await useFile(page, "mine.jsonl", example("a"));
  await panel(page, "Data").getByText(/^1 example of/).waitFor();
  await page.getByText("Advanced").click();
  await page.evaluate(() => (window.commands.length = 0));
  await setNumber(page, "Maximum length", 27);
  await panel(page, "Data").getByText("maximum length of 27").first().waitFor();
  const sent = await page.evaluate(() => window.commands.filter((command) => /data/.test(command)));
  assert.deepEqual(sent, ["inspect_data"]);
  assert.equal(await panel(page, "Data").getByText("The first 1 row").count(), 1);
}, { initScript: watched });
