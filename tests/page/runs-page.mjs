// What the tests of runs do on the page again and again.
import { download, trainButton } from "./fake-page.mjs";
import { openPage, panel, setNumber } from "./harness.mjs";

export const train = (page) => panel(page, "Train");
export const runsPanel = (page) => panel(page, "Runs");
export const button = (page, name) => page.getByRole("button", { name, exact: true });
export const stepNow = async (page) => Number((await train(page).locator(".figures dd").first().textContent()).split(" ")[0]);
export const rowOf = (page, name) => runsPanel(page).getByRole("row").filter({ hasText: name });
export const openRun = (page, name) => runsPanel(page).getByRole("button", { name, exact: true }).click();

export const rank = (page) => page.getByRole("spinbutton", { name: "Rank", exact: true }).inputValue();

export async function start(page, steps) {
  await setNumber(page, "Steps", steps);
  await trainButton(page).click();
  await page.getByText(/Training on 4 examples/).waitFor();
}

export async function finish(page, steps) {
  await setNumber(page, "Steps", steps);
  await trainButton(page).click();
  await done(page);
}

export const done = (page) => train(page).getByText("Done.", { exact: true }).waitFor();

export async function samplesOff(page) {
  await page.getByText("Samples while training").click();
  await setNumber(page, "Sample every", 0);
}

export async function csvOf(page, title) {
  const { bytes } = await download(page, page.getByRole("button", { name: `Download CSV: ${title}` }));
  const [header, ...rows] = bytes.toString().trimEnd().split("\r\n").map((line) => line.split(","));
  return { header, rows };
}

/** Loss by step, of the run of this tab. */
export async function losses(page) {
  // Counted from the end: the title may hold commas.
  return (await csvOf(page, "Loss")).rows.filter((row) => row.at(-3) !== "").map((row) => [row.at(-4), row.at(-3)].map(Number));
}

const curves = new Map();

/** The losses of a run of so many steps without a pause, for comparison: always the same. */
export async function uninterrupted(url, steps) {
  if (!curves.has(steps)) {
    const { page, close } = await openPage(url, { share: true });
    await page.getByText("Ready.").waitFor();
    await samplesOff(page);
    await finish(page, steps);
    curves.set(steps, await losses(page));
    await close();
  }
  return curves.get(steps);
}
