// The page with the fake engine, for tests of what the page does around the engine.
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { builtPage, closeBrowser, explained, file, openPage, serve } from "./harness.mjs";

/**
 * Serves the page for the tests of one file; `onPage` runs a test on a fresh page that is ready to train. With `changes`
 * the tests may change the files in `built.folder`.
 */
export function fakePage({ changes = false } = {}) {
  const built = { url: undefined, folder: undefined };
  let page;
  let server;
  before(async () => {
    page = await builtPage({ fake: true, own: changes });
    built.folder = page.folder;
    server = await serve([page.folder]);
    built.url = server.url;
  });
  after(async () => {
    await closeBrowser();
    server?.close();
    await page?.discard();
  });
  const onPage = (name, act, options) =>
    test(name, async () => {
      const opened = await openPage(built.url + (options?.hash ?? ""), { share: true, ...options });
      try {
        await opened.page.getByText("Ready.").waitFor();
        await act(opened.page, opened);
      } catch (error) {
        const failure = await explained(error, opened);
        await opened.close().catch(() => {});
        throw failure;
      }
      await opened.close();
    });
  return { built, onPage };
}

export const trainButton = (page) => page.getByRole("button", { name: "Train", exact: true });

/** Has a store of this name until the function that it gives is called: what the fake engine makes of it, it says there. */
async function keepStore(page, name) {
  await page.evaluate(async (name) => void (await caches.open(name)), name);
  return () => page.evaluate((name) => caches.delete(name), name);
}

/** The run that begins next waits after so many steps, and plans for `held-plans.jsonl` wait, until the function that comes is called. */
export const holdAfter = (page, steps) => keepStore(page, `held-after-${steps}`);
export const holdPlans = (page) => keepStore(page, "held-plans");

/** One line of a data set that the fake engine reads. */
export const example = (text) => `{"prompt":"Q: ","completion":"${text}"}\n`;

/** Chooses a training file of one's own; its name can ask the fake engine for a mishap. */
export async function useFile(page, name, content) {
  await page.getByRole("radio", { name: /Your own file/ }).check();
  await page.getByLabel("Training file").setInputFiles(file(name, content));
}

/** The file behind a button, which is given as itself or by its name. */
export async function download(page, button) {
  const waiting = page.waitForEvent("download");
  await (typeof button.click === "function" ? button : page.getByRole("button", { name: button })).click();
  const saved = await waiting;
  return { name: saved.suggestedFilename(), bytes: await readFile(await saved.path()) };
}
