// Draws the app's icons as PNG files from public/icon.svg: `node www/icons.mjs`.
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const folder = fileURLToPath(new URL("public/", import.meta.url));
/** The part of a maskable icon that every mask leaves: https://www.w3.org/TR/appmanifest/#icon-masks. */
const SAFE = 0.8;

const svg = await readFile(`${folder}icon.svg`, "utf8");
const ground = /<rect[^>]*fill="(#[0-9a-f]+)"/.exec(svg)?.[1];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
for (const [name, size, isMaskable] of [
  ["icon-192", 192, false],
  ["icon-512", 512, false],
  ["icon-maskable-512", 512, true],
]) {
  const page = await browser.newPage({ viewport: { width: size, height: size } });
  const inner = isMaskable ? size * SAFE : size;
  const style = `margin: 0; display: grid; place-items: center; height: 100vh; background: ${isMaskable ? ground : "transparent"}`;
  await page.setContent(`<body style="${style}">${svg.replace("<svg ", `<svg width="${inner}" height="${inner}" `)}</body>`);
  await page.screenshot({ path: `${folder}${name}.png`, omitBackground: true });
  await page.close();
}
await browser.close();
