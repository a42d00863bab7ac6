// Lighthouse's scores of the built page, as `npm run lighthouse` prints them; the reports stay in the folder that it names.
// Fails if a score is below the aim. Not among the tests: the scores depend on how busy the machine is. Lighthouse itself is fetched by npx, as it is larger than all
// that the tests need.
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { build, BROWSER, www } from "./harness.mjs";

const LIGHTHOUSE = "lighthouse@12.8.2";
const AIM = 95;
/** Lighthouse's names of what makes the score of performance. */
const METRICS = ["first-contentful-paint", "largest-contentful-paint", "total-blocking-time", "cumulative-layout-shift", "speed-index"];

const require = createRequire(join(www, "package.json"));
const vite = await import(pathToFileURL(join(require.resolve("vite/package.json"), "../dist/node/index.js")).href);
const folder = await build();
const server = await vite.preview({
  root: www,
  configFile: join(www, "vite.config.ts"),
  logLevel: "error",
  build: { outDir: folder },
  preview: { port: 0 },
});
const [url] = server.resolvedUrls.local;
try {
  for (const form of ["desktop", "mobile"]) {
    const report = join(folder, `lighthouse-${form}.json`);
    await promisify(execFile)("npx", [
      "--yes",
      LIGHTHOUSE,
      url,
      ...(form === "desktop" ? ["--preset=desktop"] : []),
      "--quiet",
      "--output=json",
      `--output-path=${report}`,
      `--chrome-flags=--headless=new ${BROWSER.flags.join(" ")}`,
    ], { env: { ...process.env, CHROME_PATH: BROWSER.path } });
    const { categories, audits } = JSON.parse(await readFile(report, "utf8"));
    console.log(`${form}: ${report}`);
    for (const { title, score } of Object.values(categories)) {
      const isBelow = !(Math.round(100 * score) >= AIM);
      if (isBelow) process.exitCode = 1;
      console.log(`  ${title}: ${Math.round(100 * score)}${isBelow ? ` (below ${AIM})` : ""}`);
    }
    console.log(`  ${METRICS.map((name) => `${name} ${audits[name].displayValue}`).join(", ")}`);
  }
} finally {
  await server.close();
}
