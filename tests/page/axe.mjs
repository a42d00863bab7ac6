// The usual rules of accessibility, asked of the page as it is.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { www } from "./harness.mjs";

const axe = await readFile(createRequire(join(www, "package.json")).resolve("axe-core/axe.min.js"), "utf8");

/** What axe holds against the page as it is, in both colour schemes; and whether it is wider than its window. */
export async function check(page, view) {
  if (!(await page.evaluate(() => "axe" in window))) await page.evaluate(axe);
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
    const grave = violations
      .filter(({ impact }) => ["serious", "critical"].includes(impact))
      .map(({ id, nodes }) => `${id}: ${nodes.slice(0, 5).map(({ html, failureSummary }) => `${html.slice(0, 160)} ${failureSummary}`).join(" | ")}`);
    assert.deepEqual(grave, [], `${view}, ${colorScheme}`);
  }
  const [wide, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(wide <= window, `${view} is ${wide} wide in a window of ${window}`);
}
