// As an installed app: without a network after a first visit, with icons, and with word of newer versions.
import assert from "node:assert/strict";
import { appendFile, readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { fakePage, trainButton } from "./fake-page.mjs";
import { panel, setNumber } from "./harness.mjs";

const { built, onPage } = fakePage({ changes: true });

onPage(
  "opens and trains without a network",
  async (page, { context }) => {
    await page.evaluate(async () => void (await navigator.serviceWorker.ready));
    await context.setOffline(true);
    await page.reload();
    await page.getByText("Ready.").waitFor();
    await setNumber(page, "Steps", 3);
    await trainButton(page).click();
    await panel(page, "Train").getByText("Done.", { exact: true }).waitFor();
  },
  { serviceWorkers: "allow" },
);

onPage(
  "says when a newer version of the page waits",
  async (page) => {
    await page.evaluate(async () => void (await navigator.serviceWorker.ready));
    // From the second visit on the page comes from the service worker.
    await page.reload();
    await page.getByText("Ready.").waitFor();
    const notice = page.getByText("A newer version of this page is here.");
    assert.equal(await notice.count(), 0);
    await appendFile(join(built.folder, "sw.js"), "\n// Newer.\n");
    await page.evaluate(async () => void (await (await navigator.serviceWorker.ready).update()));
    await notice.waitFor();
    await page.reload();
    await notice.waitFor();
  },
  { serviceWorkers: "allow" },
);

/** Width and height of a PNG file: https://www.w3.org/TR/png-3/#11IHDR. */
const sizeOf = (png) => `${png.readUInt32BE(16)}x${png.readUInt32BE(20)}`;

test("what browsers ask of an app that is installed is there", async () => {
  // The tests' own public folder has fewer files than the page's.
  const icons = new URL("../../www/public/", import.meta.url);
  const manifest = JSON.parse(await readFile(join(built.folder, "manifest.webmanifest"), "utf8"));
  const drawn = manifest.icons.filter(({ type }) => type === "image/png");
  for (const { src, sizes } of drawn) assert.equal(sizeOf(await readFile(new URL(src, icons))), sizes);
  assert.deepEqual(drawn.map(({ sizes, purpose = "any" }) => `${sizes} ${purpose}`).sort(), ["192x192 any", "512x512 any", "512x512 maskable"]);
});

test("the headers for the host hold the page's policy, and that no other page may frame it", async () => {
  const headers = await readFile(join(built.folder, "_headers"), "utf8");
  const page = await readFile(join(built.folder, "index.html"), "utf8");
  const [, own] = /http-equiv="Content-Security-Policy" content="([^"]+)"/.exec(page);
  assert.ok(headers.includes(`  Content-Security-Policy: ${own.replaceAll("&#39;", "'")}; frame-ancestors 'none'\n`), headers);
  assert.match(headers, /^\/\*\n/);
});
