// Compiles the library to WebAssembly for the page: cargo, wasm-bindgen (from tools/), wasm-opt. Output: pkg/.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const www = dirname(fileURLToPath(import.meta.url));
const root = dirname(www);
const TARGET = "wasm32-unknown-unknown";

// What rustc switches on for this target by default; the baseline of every browser with WebGPU.
const WASM_FEATURES = [
  "--enable-bulk-memory",
  "--enable-bulk-memory-opt",
  "--enable-multivalue",
  "--enable-mutable-globals",
  "--enable-nontrapping-float-to-int",
  "--enable-reference-types",
  "--enable-sign-ext",
];

/** An error whose message is all that the user needs. */
export class StepError extends Error {}

export function run(command, args, { cwd = root, help, capture = false, shell = false } = {}) {
  const result = spawnSync(command, args, {
    cwd,
    shell,
    encoding: "utf8",
    stdio: capture ? ["ignore", "pipe", "inherit"] : ["ignore", "inherit", "inherit"],
    maxBuffer: 64 << 20,
  });
  const shown = [command, ...args].join(" ");
  if (result.error?.code === "ENOENT") throw new StepError(`${command} was not found. ${help}`);
  if (result.error) throw new StepError(`${shown} could not be started: ${result.error.message}. ${help}`);
  if (result.status !== 0) {
    const how = result.signal ? `was ended by ${result.signal}` : `failed with exit code ${result.status}`;
    throw new StepError(`${shown} ${how}. ${help}`);
  }
  return result.stdout;
}

export function buildWasm() {
  const compilerHelp = "The compiler's message is above.";
  run("cargo", ["build", "--release", "--lib", "--target", TARGET], { help: compilerHelp });

  const metadata = run("cargo", ["metadata", "--no-deps", "--format-version", "1"], {
    capture: true,
    help: compilerHelp,
  });
  const target = JSON.parse(metadata).target_directory;
  const compiled = join(target, TARGET, "release", "postil.wasm");
  const out = join(www, "pkg");
  const module = join(out, "postil_bg.wasm");
  if (existsSync(module) && statSync(module).mtimeMs >= statSync(compiled).mtimeMs) return module;

  const toolsTarget = join(target, "wasm-tools");
  // The tools' own dependencies are warned of by the compiler; nothing here can change that.
  const quiet = ["--config", 'future-incompat-report.frequency="never"'];
  const manifest = ["--manifest-path", join(www, "tools", "Cargo.toml")];
  run("cargo", ["build", "--locked", ...quiet, ...manifest, "--target-dir", toolsTarget], { help: compilerHelp });
  const suffix = process.platform === "win32" ? ".exe" : "";
  // Through a folder of its own: a build that is cut short leaves no half-written module behind.
  const fresh = join(www, "pkg.new");
  rmSync(fresh, { recursive: true, force: true });
  mkdirSync(fresh, { recursive: true });
  run(
    join(toolsTarget, "debug", `wasm-bindgen${suffix}`),
    [compiled, "--target", "web", "--no-typescript", "--out-dir", fresh, "--out-name", "postil"],
    { help: "Delete target/wasm-tools and try again." },
  );

  const optimizer = join(www, "node_modules", "binaryen", "bin", "wasm-opt");
  const bound = join(fresh, "postil_bg.wasm");
  const optimized = join(fresh, "optimized.wasm");
  run(process.execPath, [optimizer, "-O3", ...WASM_FEATURES, bound, "-o", optimized], {
    help: "Run `npm --prefix www ci` and try again.",
  });
  renameSync(optimized, bound);
  rmSync(out, { recursive: true, force: true });
  renameSync(fresh, out);
  return module;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    const module = buildWasm();
    console.log(`${module}: ${(statSync(module).size / 2 ** 20).toFixed(2)} MiB`);
  } catch (error) {
    if (!(error instanceof StepError)) throw error;
    console.error(`postil: ${error.message}`);
    process.exitCode = 1;
  }
}
