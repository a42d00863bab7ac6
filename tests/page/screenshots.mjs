// Pictures of every view, on a desktop and a phone, light and dark, to be looked at: `npm --prefix www run screenshots -- FOLDER`.
// With the fake engine, so that they can be compared from one time to the next.
import { mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { example, trainButton, useFile } from "./fake-page.mjs";
import { build, openPage, panel, remove, serve, setNumber } from "./harness.mjs";

const FORMS = { desktop: { width: 1280, height: 900 }, phone: { width: 375, height: 740 } };
const PANELS = ["Model", "Data", "Adapter", "Train", "Compare", "Download", "Runs", "Sweep", "Take the settings along"];
const ENDLESS = 1_000_000;

const out = resolve(process.argv[2] ?? "screenshots");
await mkdir(out, { recursive: true });
const folder = await build({ fake: true });
const server = await serve([folder]);

async function shoot(viewport, colorScheme, prefix) {
  const whole = async (page, view) => {
    await page.waitForTimeout(300);
    await page.screenshot({ path: join(out, `${prefix}-${view}.png`) });
  };
  const one = async (page, title, view) => {
    await page.waitForTimeout(300);
    await panel(page, title).screenshot({ path: join(out, `${prefix}-${view}-${title.toLowerCase().replaceAll(" ", "-")}.png`) });
  };
  const { page, close } = await openPage(server.url, { viewport, colorScheme });
  await page.getByText("Ready.").waitFor();
  // It would stand in the middle of pictures that are higher than the window.
  const unpin = () => page.locator(".path").evaluate((path) => (path.style.position = "static"));
  await panel(page, "Take the settings along").getByText("The same run in Python").waitFor();
  await whole(page, "arrival");
  await unpin();
  await page.locator("details").evaluateAll((all) => all.forEach((part) => (part.open = true)));
  for (const title of PANELS) await one(page, title, "unfolded");
  await page.locator("details").evaluateAll((all) => all.forEach((part) => (part.open = false)));

  await useFile(page, "mixed.jsonl", `${[1, 2, 3].map((number) => example(`answer ${number}`)).join("")}not json\n`);
  await panel(page, "Data").getByText("1 line skipped").waitFor();
  await one(page, "Data", "own-file");
  await setNumber(page, "Steps", 2);
  await useFile(page, "slow-shaders.jsonl", example("a"));
  await trainButton(page).click();
  await page.getByText("Compiling shaders: 1 of 2").waitFor();
  await one(page, "Train", "compiling");
  await panel(page, "Train").getByText("Done.", { exact: true }).waitFor();
  await page.getByRole("radio", { name: /Plain/ }).check();
  await setNumber(page, "Steps", 30);
  await panel(page, "Sweep").getByRole("checkbox", { name: "attention q, v" }).check();
  await panel(page, "Sweep").getByRole("button", { name: "Start the sweep" }).click();
  await panel(page, "Sweep").locator(".advice").waitFor();
  await one(page, "Sweep", "swept");
  await setNumber(page, "Steps", ENDLESS);
  await trainButton(page).click();
  await page.waitForFunction(() => parseInt(document.querySelector(".figures dd")?.textContent ?? "0") > 60);
  await one(page, "Train", "training");
  await page.getByRole("button", { name: "Pause", exact: true }).click();
  await page.getByText(/Paused at step/).waitFor();
  await page.getByRole("checkbox", { name: "Chat", exact: true }).check();
  await page.locator("summary").getByText("Sampling", { exact: true }).click();
  await setNumber(page, "Maximum tokens", 12);
  await page.getByRole("button", { name: "Send" }).click();
  await page.locator(".side.tuned").getByText("12 tokens").first().waitFor();
  await one(page, "Compare", "paused");
  await page.getByRole("button", { name: "Download PEFT adapter" }).click();
  await page.getByText(/checked: same logits/).waitFor();
  await page.getByRole("button", { name: "Write merged model" }).click();
  await page.getByText(/byte for byte what was to be written/).waitFor();
  await one(page, "Download", "paused");
  await page.locator(".run-name").first().click();
  await one(page, "Runs", "paused");
  await whole(page, "paused");
  await page.getByRole("button", { name: "Stop", exact: true }).click();
  await page.getByText(/Stopped at step/).waitFor();
  await setNumber(page, "Memory budget (GiB)", 0.01);
  await page.getByText("The run does not fit the memory budget.").first().waitFor();
  await one(page, "Train", "too-large");
  await useFile(page, "inspected-trap.jsonl", example("a"));
  await page.getByText("The engine has stopped").waitFor();
  await whole(page, "crashed");
  await close();
  const other = await openPage(server.url, { viewport, colorScheme, webgpu: false });
  await other.page.getByText("This browser cannot train here").waitFor();
  await whole(other.page, "unsupported");
  await other.close();
}

try {
  for (const [form, viewport] of Object.entries(FORMS)) {
    for (const colorScheme of ["light", "dark"]) await shoot(viewport, colorScheme, `${form}-${colorScheme}`);
  }
} finally {
  server.close();
  await remove(folder);
}
console.log(`The pictures are in ${out}`);
