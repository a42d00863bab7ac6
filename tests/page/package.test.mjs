// The npm package `postil` as its users get it: files, types, description.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdir, mkdtemp, readFile, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { remove, www } from "./harness.mjs";
import { buildPackage } from "../../www/build-package.mjs";

let folder;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "postil-package-"));
  await buildPackage(folder);
});
after(async () => {
  if (folder) await remove(folder);
});

/** A program as its author writes it; the compiler is to find each mistake that is marked, and no other. */
const CONSUMER = `import { DataError, OutOfMemoryError, PostilError, Tuner, UnsupportedError, type StepReport } from "postil";

export async function main(signal: AbortSignal): Promise<number[]> {
  const tuner = await Tuner.create({ model: "HuggingFaceTB/SmolLM2-135M", onProgress: ({ stage, done, total }) => console.log(stage, done / total), signal });
  const losses: number[] = [];
  try {
    const run = tuner.train({ data: [{ text: "x" }], r: 8, target_modules: ["q_proj"], signal });
    for await (const step of run) losses.push((step satisfies StepReport).loss);
    const { best_eval_loss } = await run.finished;
    console.log(best_eval_loss?.toFixed(3));
    for await (const piece of tuner.generate({ prompt: [{ role: "user", content: "Hello" }], temperature: 0.7 })) console.log(piece.length);
    const file: Blob = await tuner.exportAdapter({ format: "gguf" });
    console.log(file.size);
  } catch (error) {
    if (error instanceof UnsupportedError) console.log(error.reason === "insecure");
    else if (error instanceof OutOfMemoryError || error instanceof DataError) console.log(error.message, error.kind === "OverBudget");
    else if (error instanceof PostilError) console.log(error.fatal);
  } finally {
    tuner.dispose();
  }
  // @ts-expect-error
  tuner.train({ r: 8 });
  // @ts-expect-error
  tuner.train({ data: [], rank: 8 });
  // @ts-expect-error
  await tuner.exportAdapter({ format: "zip" });
  // @ts-expect-error
  new Tuner();
  return losses;
}
`;

test("a program with types is checked against them", async () => {
  const program = await mkdtemp(join(tmpdir(), "postil-program-"));
  try {
    await mkdir(join(program, "node_modules"));
    await symlink(folder, join(program, "node_modules", "postil"));
    await writeFile(join(program, "program.ts"), CONSUMER);
    await writeFile(join(program, "package.json"), `{ "type": "module" }`);
    for (const [module, moduleResolution] of [["nodenext", "nodenext"], ["esnext", "bundler"]]) {
      const options = { module, moduleResolution, strict: true, target: "es2022", lib: ["es2023", "esnext.disposable", "dom"], noEmit: true, types: [], skipLibCheck: false };
      await writeFile(join(program, "tsconfig.json"), JSON.stringify({ compilerOptions: options, files: ["program.ts"] }));
      const tsc = join(www, "node_modules", "typescript", "bin", "tsc");
      const { status, stdout } = spawnSync(process.execPath, [tsc, "-p", program], { encoding: "utf8" });
      assert.equal(status, 0, stdout);
    }
  } finally {
    await remove(program);
  }
});

test("what npm would publish is all that is needed", async () => {
  await writeFile(join(folder, "notes.txt"), "not for others");
  const { stdout, status, stderr } = spawnSync("npm", ["pack", "--dry-run", "--json", "--offline"], { cwd: folder, encoding: "utf8" });
  assert.equal(status, 0, stderr);
  const [{ name, files }] = JSON.parse(stdout);
  const paths = files.map(({ path }) => path);
  assert.equal(name, "postil");
  for (const path of ["index.js", "worker.js", "postil_bg.wasm", "types/index.d.ts", "types/engine.d.ts", "README.md", "LICENSE", "THIRD-PARTY.md", "package.json", "example/example.js", "demo/model.safetensors"]) {
    assert.ok(paths.includes(path), `${path} is missing: ${paths.join(" ")}`);
  }
  assert.ok(!paths.includes("notes.txt"), paths.join(" "));
  const code = await Promise.all(["index.js", "worker.js"].map((path) => readFile(join(folder, path), "utf8")));
  for (const text of code) assert.doesNotMatch(text, /\beval\(|new Function\(|__kept/);
});

test("the package is written down by its README", async () => {
  const readme = await readFile(join(www, "lib", "README.md"), "utf8");
  const { Tuner, ...others } = await import(join(folder, "index.js"));
  const methods = Object.getOwnPropertyNames(Tuner.prototype).filter((name) => !["constructor", "end", "read", "filesOf", "withArguments"].includes(name));
  for (const name of [...methods, ...Object.keys(others)]) assert.ok(readme.includes(name), `README.md says nothing of ${name}`);
});
