// Builds the page, serves it from a sub-folder as a static host would, and drives a real browser.
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { extname, join, normalize, sep } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

export const here = fileURLToPath(new URL(".", import.meta.url));
export const www = fileURLToPath(new URL("../../www/", import.meta.url));
const require = createRequire(join(www, "package.json"));
const { chromium } = require("playwright-core");
export const { unzipSync, zipSync } = require("fflate");

const WEBGPU_FLAGS = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"];
const QUIET_FLAGS = [
  "--no-sandbox",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** The browser that everything runs in, and what it is started with. */
export const BROWSER = { path: process.env.CHROMIUM ?? "/usr/bin/chromium", flags: [...QUIET_FLAGS, ...WEBGPU_FLAGS] };

/** What comes at all comes sooner, even on a busy machine. Less is pleasanter while a test is being written. */
const PATIENCE_MS = Number(process.env.PATIENCE_MS ?? 180_000);

const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".png": "image/png",
  ".json": "application/json",
  ".wasm": "application/wasm",
  ".webmanifest": "application/manifest+json",
};

/** The built page in a new folder: with the real engine, or with the fake one and its demo files. */
export async function build({ fake = false } = {}) {
  const vite = await import(pathToFileURL(join(require.resolve("vite/package.json"), "../dist/node/index.js")).href);
  const out = await mkdtemp(join(tmpdir(), "postil-page-"));
  if (!fake && !existsSync(join(www, "pkg", "postil.js"))) {
    throw new Error("www/pkg is missing: run `npm --prefix www run wasm` first");
  }
  const alias = { "postil-engine": join(here, "fake", "engine.js") };
  const standIn = { resolve: { alias }, publicDir: join(here, "fake", "public") };
  await vite.build({
    root: www,
    configFile: join(www, "vite.config.ts"),
    logLevel: "warn",
    build: { outDir: out, emptyOutDir: true },
    ...(fake ? standIn : {}),
  });
  return out;
}

/**
 * A built page and how to be done with it: the one that `run.mjs` made for all files, or,
 * for a file that runs by itself or wants its `own`, another.
 */
export async function builtPage({ fake = false, own = false } = {}) {
  const made = !own && process.env[fake ? "FAKE_PAGE" : "REAL_PAGE"];
  if (made) return { folder: made, discard: async () => {} };
  const folder = await build({ fake });
  return { folder, discard: () => remove(folder) };
}

/** Gives a module of the page's by its path under `src`, for tests of those that need no browser. */
export async function loadModules() {
  const vite = await import(pathToFileURL(join(require.resolve("vite/package.json"), "../dist/node/index.js")).href);
  globalThis.document ??= { baseURI: "http://localhost/" };
  const server = await vite.createServer({
    root: www,
    configFile: join(www, "vite.config.ts"),
    logLevel: "error",
    server: { middlewareMode: true, hmr: false, ws: false, watch: null },
    optimizeDeps: { noDiscovery: true },
    appType: "custom",
  });
  const load = (path) => server.ssrLoadModule(`/src/${path}`);
  return Object.assign(load, { close: () => server.close() });
}

/** The headers that the built page asks its host for: workers do not inherit the page's policy. */
async function pageHeaders(folders) {
  for (const folder of folders) {
    const text = await readFile(join(folder, "_headers"), "utf8").catch(() => "");
    const headers = Object.fromEntries([...text.matchAll(/^ +([\w-]+): (.+)$/gm)].map(([, name, value]) => [name, value]));
    if (headers["Content-Security-Policy"]) return headers;
  }
  throw new Error("the built page asks for no Content-Security-Policy");
}

const WORKER = /\/worker(-[^/]*)?\.js$/;

/**
 * Serves the first of `folders` that has a file, under `/some/where/`, with the headers that the built page asks for, or
 * under another `policy`; everything else is 404. `workerScript` stands before the worker's own: as in `openPage`, but
 * without the interception there, behind which a worker's requests to other servers fail.
 */
export async function serve(folders, policy, workerScript = "") {
  const headers = policy ? { "Content-Security-Policy": policy } : await pageHeaders(folders);
  const server = createServer(async (request, response) => {
    const path = decodeURIComponent(new URL(request.url, "http://localhost").pathname);
    const inside = path.startsWith("/some/where/") ? normalize(path.slice("/some/where/".length) || "index.html") : "..";
    for (const folder of inside.startsWith("..") ? [] : folders) {
      let body = await readFile(join(folder, ...inside.split(sep))).catch(() => undefined);
      if (body === undefined) continue;
      if (workerScript && WORKER.test(path)) body = Buffer.concat([Buffer.from(`${workerScript};\n`), body]);
      response.writeHead(200, {
        "Content-Type": TYPES[extname(inside)] ?? "application/octet-stream",
        "Content-Length": body.length,
        ...headers,
      });
      response.end(body);
      return;
    }
    response.writeHead(404).end();
  });
  await new Promise((resolve) => server.listen(0, "localhost", resolve));
  return { url: `http://localhost:${server.address().port}/some/where/`, close: () => server.close() };
}

/** How the browser starts, with WebGPU or without. */
function launching(webgpu) {
  return {
    executablePath: BROWSER.path,
    args: ["--headless=new", ...QUIET_FLAGS, ...(webgpu ? WEBGPU_FLAGS : [])],
    ignoreDefaultArgs: ["--headless"],
  };
}

let common;

/** The browser of all pages of this process that ask for it; a new one if the last has died. */
async function commonBrowser() {
  if (!common?.isConnected()) common = await chromium.launch(launching(true));
  return common;
}

/** Ends the browser of the pages that have one in common. */
export async function closeBrowser() {
  await common?.close();
  common = undefined;
}

/**
 * A page and its browser. `problems` collects what no test may see: console errors (but for those that match `expected`),
 * policy violations, requests to other origins than `origins` (a list or a pattern). With `profile`, a folder, the
 * browser is no private one: such have little room for files. With `share` the page has storage of its own in a browser that
 * others use, too, until `closeBrowser`: starting one takes longer than many a test. `initScript` runs before the page's own scripts.
 * `workerScript` runs before the worker's own. `serviceWorkers: "allow"` lets the page keep itself for use without a
 * network; elsewhere that would be several MB a test.
 */
export async function openPage(url, options = {}) {
  const { webgpu = true, viewport = { width: 1280, height: 900 }, colorScheme = "light" } = options;
  const { origins = [], expected, profile, initScript, workerScript, serviceWorkers = "block" } = options;
  const share = options.share && webgpu && !profile;
  const settings = { viewport, colorScheme, acceptDownloads: true, serviceWorkers };
  const own = share || profile ? undefined : await chromium.launch(launching(webgpu));
  const context = await (profile
    ? chromium.launchPersistentContext(profile, { ...launching(webgpu), ...settings })
    : (own ?? (await commonBrowser())).newContext(settings));
  const isForeign = (origin) => !(origins.test ? origins.test(origin) : origins.includes(origin));
  const problems = [];
  const requests = [];
  context.on("request", (request) => {
    requests.push(request.url());
    const { protocol, origin } = new URL(request.url());
    if (!["data:", "blob:"].includes(protocol) && origin !== new URL(url).origin && isForeign(origin)) {
      problems.push(`request to ${request.url()}`);
    }
  });
  await context.addInitScript(() => {
    addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) =>
      console.error(`policy violation: ${violatedDirective} ${blockedURI}`),
    );
  });
  // Their dialogs are the browser's own, which nothing here can answer: files go among the downloads instead.
  await context.addInitScript(() => {
    delete window.showSaveFilePicker;
    delete window.showDirectoryPicker;
  });
  if (initScript) await context.addInitScript(initScript);
  if (workerScript) {
    await context.route(WORKER, async (route) => {
      const response = await route.fetch();
      await route.fulfill({ response, body: `${workerScript};\n${await response.text()}` });
    });
  }
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  page.on("console", (message) => {
    if (message.type() === "error" && !expected?.test(message.text())) problems.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => problems.push(`page error: ${error.message}`));
  await page.goto(url);
  return {
    page,
    context,
    problems,
    requests,
    async close() {
      await context.close();
      await own?.close();
      assert.deepEqual(problems, []);
    },
  };
}

/** For `workerScript`: keeps the GPU device as `lastDevice`, so that a test can end it as a driver's reset would. */
export const KEEPS_DEVICE = `const ask = GPUAdapter.prototype.requestDevice;
  GPUAdapter.prototype.requestDevice = async function (...options) { return (self.lastDevice = await ask.apply(this, options)); }`;

/** For `workerScript`: keeps WebAssembly's memory, which never shrinks, as `wasmMemory`. */
export const KEEPS_MEMORY = `for (const name of ["instantiate", "instantiateStreaming"]) {
  const make = WebAssembly[name];
  WebAssembly[name] = async (...given) => {
    const made = await make.apply(WebAssembly, given);
    self.wasmMemory = (made.instance ?? made).exports.memory;
    return made;
  };
}`;

/** Resolves when the page has so many workers, which end a moment after they are told to. */
export async function hasWorkers(page, count) {
  const patience = performance.now() + PATIENCE_MS;
  while (page.workers().length !== count) {
    assert.ok(performance.now() < patience, `the page has ${page.workers().length} workers, not ${count}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A test's error, with what its page has to say. */
export async function explained(error, { page, problems }) {
  const alerts = await page.getByRole("alert").allTextContents().catch(() => []);
  const seen = [...problems, ...alerts];
  return seen.length > 0 ? new Error(`${error.message}\nseen on the page: ${seen.join("\n")}`, { cause: error }) : error;
}

export async function remove(folder) {
  await rm(folder, { recursive: true, force: true });
}

/** The part of the page under a heading. */
export function panel(page, title) {
  return page.getByRole("region", { name: title, exact: true });
}

export async function setNumber(page, label, value) {
  await page.getByRole("spinbutton", { name: label, exact: true }).fill(String(value));
}

/** Files as the browser would get them from a chooser. */
export function file(name, content, mimeType = "application/octet-stream") {
  return { name, mimeType, buffer: Buffer.from(content) };
}

/** What assistive technology could not name: controls without a label, images without a text, doubled ids. */
export async function unnamed(page) {
  return await page.evaluate(() => {
    const controls = [...document.querySelectorAll("button, input, select, textarea, progress, [role=img], summary")];
    const name = (element) =>
      element.getAttribute("aria-label") ||
      [...(element.labels ?? [])].map((label) => label.textContent).join("") ||
      (element.matches("button, summary") ? element.textContent : "");
    const nameless = controls.filter((element) => !name(element).trim()).map((element) => element.outerHTML.slice(0, 120));
    const ids = [...document.querySelectorAll("[id]")].map(({ id }) => id);
    const doubled = ids.filter((id, index) => ids.indexOf(id) !== index).map((id) => `doubled id ${id}`);
    const dangling = [...document.querySelectorAll("[aria-describedby], [aria-labelledby]")]
      .flatMap((element) => [element.getAttribute("aria-describedby"), element.getAttribute("aria-labelledby")])
      .filter((id) => id && !document.getElementById(id))
      .map((id) => `no element has the id ${id}`);
    return [...nameless, ...doubled, ...dangling];
  });
}
