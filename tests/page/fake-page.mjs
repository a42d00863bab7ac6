// The page with the fake engine, for tests of what the page does around the engine.
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { build, file, openPage, remove, serve } from "./harness.mjs";

/** Builds and serves the page for the tests of one file; `onPage` runs a test on a fresh page that is ready to train. */
export function fakePage() {
  const built = { url: undefined, folder: undefined };
  let folder;
  let server;
  before(async () => {
    folder = await build({ fake: true });
    built.folder = folder;
    server = await serve([folder]);
    built.url = server.url;
  });
  after(async () => {
    server?.close();
    if (folder) await remove(folder);
  });
  const onPage = (name, act, options) =>
    test(name, async () => {
      const opened = await openPage(built.url + (options?.hash ?? ""), options);
      try {
        await opened.page.getByText("Ready.").waitFor();
        await act(opened.page, opened);
      } catch (error) {
        await opened.close().catch(() => {});
        throw error;
      }
      await opened.close();
    });
  return { built, onPage };
}

export const trainButton = (page) => page.getByRole("button", { name: "Train", exact: true });

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
