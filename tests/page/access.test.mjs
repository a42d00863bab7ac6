// Access: axe finds nothing serious on any view, in light and dark, on a desktop and a phone; the keyboard's order is the page's.
import assert from "node:assert/strict";
import { test } from "node:test";
import { check } from "./axe.mjs";
import { example, fakePage, trainButton, useFile } from "./fake-page.mjs";
import { openPage, panel, setNumber } from "./harness.mjs";

const { built, onPage } = fakePage();
const ENDLESS = 1_000_000;
const PHONE = { width: 375, height: 740 };

const openAll = (page) => page.evaluate(() => document.querySelectorAll("details").forEach((part) => (part.open = true)));

for (const [form, options] of [
  ["desktop", {}],
  ["phone", { viewport: PHONE }],
]) {
  onPage(`every view on a ${form}`, async (page) => {
    await panel(page, "Take the settings along").getByText("The same run in Python").waitFor();
    await check(page, "arrival");
    await openAll(page);
    await panel(page, "Take the settings along").getByText("max_steps=").waitFor();
    await check(page, "everything unfolded");

    await setNumber(page, "Steps", 20);
    await panel(page, "Sweep").getByRole("checkbox", { name: "16", exact: true }).uncheck();
    await panel(page, "Sweep").getByRole("checkbox", { name: "32", exact: true }).uncheck();
    await panel(page, "Sweep").getByRole("button", { name: "Start the sweep" }).click();
    await panel(page, "Sweep").locator(".advice").waitFor();
    await page.getByRole("checkbox", { name: "Chat", exact: true }).check();
    await page.getByLabel("Maximum tokens").fill("8");
    await page.getByRole("button", { name: "Send" }).click();
    await page.locator(".side.tuned").getByText("8 tokens").first().waitFor();
    await page.getByRole("checkbox", { name: "Mark differences" }).check();
    await page.getByRole("button", { name: "Download PEFT adapter" }).click();
    await page.getByText(/checked: same logits/).waitFor();
    await page.locator(".run-name").first().click();
    await panel(page, "Runs").getByRole("button", { name: "Rename" }).waitFor();
    await check(page, "sweep, conversation, checked download, a run's details");

    await setNumber(page, "Steps", ENDLESS);
    await trainButton(page).click();
    await page.getByText(/Training on 4 examples/).waitFor();
    await page.locator(".plot canvas").first().waitFor();
    await page.getByRole("button", { name: "Pause", exact: true }).click();
    await page.getByText(/Paused at step/).waitFor();
    await check(page, "a run that is paused, with its charts");
    await page.getByRole("button", { name: "Stop", exact: true }).click();
    await page.getByText(/Stopped at step/).waitFor();

    await useFile(page, "mixed.jsonl", `${example("a")}not json\n`);
    await panel(page, "Data").getByText("1 line skipped").waitFor();
    await setNumber(page, "Rank", 128);
    await setNumber(page, "Memory budget (GiB)", 0.01);
    await page.getByText("The run does not fit the memory budget.").waitFor();
    await check(page, "a file with errors, warnings, a run that does not fit");

    await useFile(page, "inspected-trap.jsonl", example("a"));
    await page.getByText("The engine has stopped").waitFor();
    await check(page, "after a crash");
  }, options);
}

test("without WebGPU", async () => {
  const { page, close } = await openPage(built.url, { webgpu: false, viewport: PHONE });
  await page.getByText("This browser cannot train here").waitFor();
  await check(page, "unsupported");
  await close();
});

onPage("Tab goes through the page in its order, and one sees where it is", async (page) => {
  await panel(page, "Take the settings along").getByText("The same run in Python").waitFor();
  const seen = [];
  for (;;) {
    await page.keyboard.press("Tab");
    const at = await page.evaluate(() => {
      const { activeElement: element } = document;
      if (element === document.body || element === null) return null;
      const part = element.closest(".path") ? 0 : Number(element.closest(".panel")?.querySelector(".margin-number")?.textContent);
      const { outlineStyle, outlineWidth } = getComputedStyle(element);
      const again = element.hasAttribute("data-seen");
      element.setAttribute("data-seen", "");
      return { part, isSeen: outlineStyle !== "none" && parseFloat(outlineWidth) >= 2, again, html: element.outerHTML.slice(0, 120) };
    });
    if (at === null || at.again) break;
    assert.ok(at.isSeen, `no outline: ${at.html}`);
    seen.push(at.part);
  }
  assert.deepEqual(seen, [...seen].sort((a, b) => a - b));
  // Download and Runs have nothing to press before there is a run.
  assert.deepEqual([...new Set(seen)], [0, 1, 2, 3, 4, 5, 8, 9]);
  assert.equal(await page.locator("[tabindex]:not([tabindex='0'], [tabindex='-1'])").count(), 0);
});
