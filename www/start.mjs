// From a fresh clone to the page in the browser: checks the tools, builds everything, serves it on this machine.
//   npm --prefix www start -- [--no-open] [--dev] [--port N]
import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { buildWasm, run, StepError } from "./build-wasm.mjs";

const www = dirname(fileURLToPath(import.meta.url));
const NODE_MINIMUM = [20, 19];
const RUST_HELP = "Install Rust from https://rustup.rs, open a new terminal and run this again.";

function step(title) {
  console.log(`\n> ${title}`);
}

function options() {
  try {
    const { values } = parseArgs({
      options: {
        "no-open": { type: "boolean", default: false },
        dev: { type: "boolean", default: false },
        port: { type: "string" },
      },
    });
    const port = values.port === undefined ? undefined : Number(values.port);
    if (port !== undefined && !(Number.isInteger(port) && port > 0 && port < 65536)) {
      throw new Error(`--port takes a number from 1 to 65535, not ${values.port}`);
    }
    return { open: !values["no-open"], dev: values.dev, port };
  } catch (error) {
    throw new StepError(`${error.message}. Usage: npm --prefix www start -- [--no-open] [--dev] [--port N]`);
  }
}

function checkNode() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  const [wantedMajor, wantedMinor] = NODE_MINIMUM;
  if (major < wantedMajor || (major === wantedMajor && minor < wantedMinor)) {
    const wanted = NODE_MINIMUM.join(".");
    throw new StepError(`Node ${process.versions.node} is too old: install Node ${wanted} or newer from https://nodejs.org.`);
  }
}

function checkRust() {
  run("cargo", ["--version"], { capture: true, help: RUST_HELP });
  run("rustup", ["target", "add", "wasm32-unknown-unknown"], {
    help: `rustup adds the WebAssembly target to the compiler. ${RUST_HELP}`,
  });
}

function installPackages() {
  const help = "npm's message is above; check the network and try again.";
  const npm = process.env.npm_execpath;
  if (npm && existsSync(npm) && /\.c?js$/.test(npm)) {
    run(process.execPath, [npm, "ci", "--no-audit", "--no-fund"], { cwd: www, help });
  } else {
    run("npm", ["ci", "--no-audit", "--no-fund"], { cwd: www, help, shell: process.platform === "win32" });
  }
}

async function serve({ open, dev, port }) {
  // Imported here because the packages were installed a moment ago.
  const vite = await import("vite");
  const where = { open, ...(port === undefined ? {} : { port, strictPort: true }) };
  try {
    if (dev) {
      const server = await vite.createServer({ root: www, server: where });
      await server.listen();
      return server.resolvedUrls.local[0];
    }
    step("Building the page");
    await vite.build({ root: www, logLevel: "warn" });
    const server = await vite.preview({ root: www, preview: where });
    return server.resolvedUrls.local[0];
  } catch (error) {
    throw new StepError(`The page could not be built and served: ${error.message}`);
  }
}

try {
  const chosen = options();
  checkNode();
  step("Checking Rust and its WebAssembly target");
  checkRust();
  step("Installing the page's packages");
  installPackages();
  step("Compiling the engine to WebAssembly (several minutes the first time)");
  buildWasm();
  const url = await serve(chosen);
  console.log(`\nPostil is at ${url} (Ctrl+C ends it)`);
} catch (error) {
  if (!(error instanceof StepError)) throw error;
  console.error(`\npostil: ${error.message}`);
  process.exitCode = 1;
}
