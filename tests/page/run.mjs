// All page tests; options go on to `node --test`. The page is built once for all files. Those on the fake engine mostly wait,
// and run two at a time; a real engine, or what is measured, has the machine to itself.
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { build, here, remove } from "./harness.mjs";

const FAKE = /from "\.\/fake-page\.mjs"|build\(\{ fake: true \}\)/;

const files = readdirSync(here).filter((name) => name.endsWith(".test.mjs"));
const isFake = (name) => FAKE.test(readFileSync(join(here, name), "utf8"));

const folders = [];
try {
  for (const fake of [true, false]) folders.push(await build({ fake }));
  const [FAKE_PAGE, REAL_PAGE] = folders;
  const env = { ...process.env, FAKE_PAGE, REAL_PAGE };
  const run = (names, concurrency) => {
    const options = ["--test", `--test-concurrency=${concurrency}`, ...process.argv.slice(2), ...names];
    const { status } = spawnSync(process.execPath, options, { cwd: here, env, stdio: "inherit" });
    if (status !== 0) process.exitCode = 1;
  };
  run(files.filter(isFake), 2);
  run(files.filter((name) => !isFake(name)), 1);
} finally {
  for (const folder of folders) await remove(folder);
}
