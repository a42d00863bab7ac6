// Nothing moves by itself once the page is there: not when a run is offered, nor while one is prepared, goes on and ends. With
// the fake engine.
import assert from "node:assert/strict";
import { fakePage, holdAfter, trainButton } from "./fake-page.mjs";
import { panel, setNumber } from "./harness.mjs";

const { onPage } = fakePage();

/** As in `budgets.test.mjs`: less than a line of text that moves. */
const MOST = 0.002;
/** What a click moves is its answer, and not counted. */
const AFTER_INPUT_MS = 600;

const watch = () => {
  window.shifts = [];
  new PerformanceObserver((list) => {
    for (const { value, hadRecentInput, sources } of list.getEntries()) {
      if (hadRecentInput) continue;
      const place = ({ x, y, width, height }) => [x, y, width, height].map(Math.round).join(" ");
      const moved = sources.map(({ node, previousRect, currentRect }) => `${(node?.outerHTML ?? node?.textContent)?.slice(0, 70)}: ${place(previousRect)} to ${place(currentRect)}`);
      window.shifts.push([value, ...moved]);
    }
  }).observe({ type: "layout-shift", buffered: true });
};

/** What has moved since the last time that this was asked, and by how much. */
async function moved(page) {
  // The browser reports with the next frames.
  await page.waitForTimeout(200);
  const shifts = await page.evaluate(() => window.shifts.splice(0));
  return { sum: shifts.reduce((total, [value]) => total + value, 0), shifts };
}

async function nothingMoved(page, when) {
  const { sum, shifts } = await moved(page);
  assert.ok(sum < MOST, `layout shift ${when}: ${sum}: ${JSON.stringify(shifts, null, 1)}`);
}

for (const [kind, viewport] of [
  ["desktop", { width: 1280, height: 900 }],
  ["phone", { width: 375, height: 740 }],
]) {
  onPage(
    `nothing moves by itself on a ${kind}`,
    async (page) => {
      page.on("dialog", (dialog) => dialog.accept());
      await page.waitForTimeout(AFTER_INPUT_MS);
      // The fake data are not those that the page keeps room for; `budgets.test.mjs` looks at the real ones.
      const arrival = await moved(page);
      const train = panel(page, "Train");
      await page.getByText("Sampling", { exact: true }).click();
      await setNumber(page, "Maximum tokens", 10);
      await page.getByText("Samples while training").click();
      await setNumber(page, "Sample every", 20);
      await setNumber(page, "Sample length", 8);
      await page.getByText("Samples while training").click();
      await setNumber(page, "Steps", 60);
      for (const place of [".run-control", ".charts", ".held-out", ".samples"]) {
        const step = await holdAfter(page, 0);
        await trainButton(page).click();
        await train.getByText("Preparing: planning").waitFor();
        await page.locator(".charts .small-charts").waitFor();
        await train.locator(place).evaluate((element) => element.scrollIntoView({ block: "start" }));
        await page.waitForTimeout(AFTER_INPUT_MS);
        await page.evaluate(() => window.shifts.splice(0));
        await step();
        await train.getByText("Done.", { exact: true }).waitFor();
        await nothingMoved(page, `during a run, at ${place}`);
        await panel(page, "Compare").getByRole("button", { name: "Generate" }).waitFor();
        await nothingMoved(page, `after a run, at ${place}`);
      }

      const step = await holdAfter(page, 5);
      await trainButton(page).click();
      await page.waitForFunction(() => document.querySelector(".figures dd")?.textContent.startsWith("5 "));
      await page.getByRole("button", { name: "Pause", exact: true }).click();
      await step();
      await train.getByText(/Paused at step/).waitFor();
      await page.evaluate(() => scrollTo(0, 0));
      await page.reload();
      const banner = page.getByRole("region", { name: "Interrupted run" });
      await banner.waitFor();
      await page.getByText("Ready.").waitFor();
      await page.waitForTimeout(AFTER_INPUT_MS);
      const { sum, shifts } = await moved(page);
      assert.ok(sum < arrival.sum + MOST, `with a run that is offered: ${sum}, not ${arrival.sum}: ${JSON.stringify(shifts, null, 1)}`);
      // It covers nothing for good.
      await page.getByRole("contentinfo").evaluate((element) => element.scrollIntoView({ block: "end" }));
      const [footer, cover] = await Promise.all([page.getByRole("contentinfo").boundingBox(), banner.boundingBox()]);
      assert.ok(footer.y < cover.y, JSON.stringify([footer, cover]));
    },
    { initScript: watch, viewport },
  );
}
