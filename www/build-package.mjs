// Builds the npm package `postil` from lib/ into package/: the module, the worker, the WebAssembly, types, the built-in model.
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "vite";

const www = fileURLToPath(new URL(".", import.meta.url));
const MODULE = join("pkg", "postil_bg.wasm");

/** Addresses of files beside a module stay as they are written: whoever uses the package resolves them. */
const keepAddresses = {
  name: "keep-addresses",
  enforce: "pre",
  transform: (code) => ({ code: code.replace(/new URL\((["'][^"']+["']), import\.meta\.url\)/g, "new URL(__kept($1), import.meta.url)"), map: null }),
  renderChunk: (code) => ({ code: code.replace(/__kept\((["'])([^"']+)\1\)/g, (_, __, address) => JSON.stringify(beside(address))), map: null }),
};

const beside = (address) => `./${address.replace(/^\.\//, "").replace(/\.ts$/, ".js")}`;

/** Each file is whole: a worker can be put anywhere. */
async function bundle(name, out) {
  await build({
    root: www,
    configFile: false,
    publicDir: false,
    logLevel: "warn",
    plugins: [keepAddresses],
    resolve: { alias: { "postil-engine": join(www, "pkg", "postil.js") } },
    build: {
      target: "es2022",
      outDir: out,
      emptyOutDir: false,
      // Readable; who uses it bundles it.
      minify: false,
      license: { fileName: "THIRD-PARTY.md" },
      lib: { entry: { [name]: join(www, "lib", `${name}.ts`) }, formats: ["es"], fileName: "[name]" },
    },
  });
}

/** What npm is told. */
function manifest() {
  const { version, license, author, repository, homepage } = JSON.parse(readFileSync(join(www, "package.json"), "utf8"));
  return {
    name: "postil",
    version,
    description: "LoRA fine-tuning of language models in the browser, on the user's GPU (WebGPU)",
    keywords: ["lora", "fine-tuning", "webgpu", "wasm", "peft", "llm"],
    license,
    author,
    repository,
    homepage,
    type: "module",
    exports: {
      ".": { types: "./types/index.d.ts", default: "./index.js" },
      "./worker.js": "./worker.js",
      "./postil_bg.wasm": "./postil_bg.wasm",
      "./demo/*": "./demo/*",
      "./package.json": "./package.json",
    },
    types: "./types/index.d.ts",
    files: ["index.js", "worker.js", "postil_bg.wasm", "types", "demo", "example", "THIRD-PARTY.md"],
    sideEffects: ["./worker.js"],
  };
}

/** Writes the package into `out`, in place of what is there. */
export async function buildPackage(out = join(www, "package")) {
  if (!existsSync(join(www, MODULE))) throw new Error(`www/${MODULE} is missing: run \`npm --prefix www run wasm\` first`);
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out, { recursive: true });
  await bundle("index", out);
  await bundle("worker", out);
  cpSync(join(www, MODULE), join(out, "postil_bg.wasm"));

  const compiler = join(www, "node_modules", "typescript", "bin", "tsc");
  const types = join(out, "types");
  const { status } = spawnSync(process.execPath, [compiler, "-p", join(www, "tsconfig.package.json"), "--outDir", types], { stdio: "inherit" });
  if (status !== 0) throw new Error("the types could not be written; the compiler's message is above");
  cpSync(join(www, "lib", "engine.d.ts"), join(types, "engine.d.ts"));
  // As Node's way of finding modules wants them.
  for (const name of readdirSync(types, { recursive: true }).filter((name) => name.endsWith(".d.ts"))) {
    const text = readFileSync(join(types, name), "utf8");
    writeFileSync(join(types, name), text.replace(/(from "|import\(")(\.[^"]+)"/g, '$1$2.js"'));
  }

  const names = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
  for (const name of names) cpSync(join(www, "public", "demo", name), join(out, "demo", name));
  cpSync(join(www, "lib", "README.md"), join(out, "README.md"));
  cpSync(join(www, "lib", "example"), join(out, "example"), { recursive: true });
  cpSync(join(www, "..", "LICENSE"), join(out, "LICENSE"));
  writeFileSync(join(out, "package.json"), `${JSON.stringify(manifest(), undefined, 2)}\n`);
  return out;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  console.log(await buildPackage());
}
