// The npm package `postil` as a program uses it: built, served under a strict policy, with the real engine on a software GPU.
import assert from "node:assert/strict";
import { copyFile, mkdir, mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { hasWorkers, KEEPS_DEVICE, openPage, remove, serve, unzipSync } from "./harness.mjs";
import { buildPackage } from "../../www/build-package.mjs";

const TIMEOUT = 10 * 60_000;

/** No inline code, no eval, no blobs: what a careful page sends. */
const STRICT = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'";

let folder;
let server;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "postil-package-"));
  await buildPackage(folder);
  await writeFile(join(folder, "blank.html"), "<!doctype html><html lang='en'><title>Blank</title>");
  // Another place for what can be put elsewhere.
  await mkdir(join(folder, "elsewhere"));
  await copyFile(join(folder, "worker.js"), join(folder, "elsewhere", "w.js"));
  await copyFile(join(folder, "postil_bg.wasm"), join(folder, "elsewhere", "engine.wasm"));
  server = await serve([folder], STRICT);
});
after(async () => {
  server?.close();
  if (folder) await remove(folder);
});

/** A run that a software GPU ends in seconds. */
const SMALL = {
  data: [
    { prompt: "The fox ", completion: "ran home over the hill." },
    { prompt: "The hen ", completion: "sat down under the tree." },
  ],
  settings: { r: 4, lora_alpha: 8, per_device_train_batch_size: 2, learning_rate: 5e-3, warmup_steps: 0, max_length: 32 },
};

/** Runs `act(postil, SMALL)` on an empty page that has the package's exports. */
function onPage(name, act, { check, ...options } = {}) {
  test(name, { timeout: TIMEOUT }, async () => {
    const opened = await openPage(`${server.url}blank.html`, options);
    try {
      const source = `(async (small) => {
        const postil = await import(new URL("index.js", location.href).href);
        const caught = async (act) => { try { await act(); } catch (error) { return { is: [...classes(error)], kind: error.kind, fatal: error.fatal, message: error.message, reason: error.reason }; } return "no error"; };
        const classes = function* (error) { for (let at = Object.getPrototypeOf(error); at; at = Object.getPrototypeOf(at)) yield at.constructor.name; };
        return await (${act})({ ...postil, caught }, small);
      })`;
      const url = await module(source);
      const found = await opened.page.evaluate(async ({ url, small }) => (await import(url)).default(small), { url, small: SMALL });
      await check?.(found, opened);
    } catch (error) {
      const { problems } = opened;
      await opened.close().catch(() => {});
      throw problems.length > 0 ? new Error(`${error.message}\nseen on the page: ${problems.join("\n")}`, { cause: error }) : error;
    }
    await opened.close();
  });
}

let modules = 0;

/** The strict policy lets no text be run: it has to come as a file. */
async function module(source) {
  const name = `test-${modules++}.js`;
  await writeFile(join(folder, name), `export default ${source};\n`);
  return `${server.url}${name}`;
}

test("the example trains, writes and offers an adapter, under a strict policy", { timeout: TIMEOUT }, async () => {
  const source = await readFile(join(folder, "example", "example.js"), "utf8");
  assert.ok(source.trim().split("\n").length <= 30, "it is to fit on a screen");
  const { page, close } = await openPage(`${server.url}example/index.html`);
  await page.getByRole("button", { name: "Train" }).click();
  const link = page.getByRole("link", { name: "Download the adapter" });
  await link.waitFor();
  const log = await page.getByRole("log").textContent();
  const losses = [...log.matchAll(/^step (\d+): loss ([\d.]+)$/gm)].map(([, step, loss]) => [Number(step), Number(loss)]);
  assert.deepEqual(losses.map(([step]) => step), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  const [first, last] = [losses[0][1], losses[9][1]];
  assert.ok(last < first / 2, `the loss went from ${first} to ${last}`);
  assert.match(log.split("\n").at(-1), /\w+ \w+/);
  const [download] = await Promise.all([page.waitForEvent("download"), link.click()]);
  const files = unzipSync(await readFile(await download.path()));
  const config = JSON.parse(new TextDecoder().decode(files["adapter_config.json"]));
  assert.deepEqual([config.peft_type, config.r, config.lora_alpha], ["LORA", 4, 8]);
  assert.ok(files["adapter_model.safetensors"].length > 1000);
  await close();
});

onPage(
  "two tuners train at once and do not know of each other; what is disposed of is gone",
  async ({ Tuner, caught }, { data, settings }) => {
    const lost = [];
    const create = () => Tuner.create({ model: "built-in", onLost: (error) => lost.push(error.message) });
    const tuners = await Promise.all([create(), create()]);
    const losses = async (tuner, seed) => {
      const seen = [];
      for await (const { loss } of tuner.train({ data, ...settings, seed, max_steps: 4 })) seen.push(loss);
      return seen;
    };
    const together = await Promise.all([losses(tuners[0], 1), losses(tuners[1], 2)]);
    // Each as if it were alone.
    const alone = [await losses(tuners[0], 1), await losses(tuners[1], 2)];
    await tuners[0].loadAdapter("mine", await tuners[0].adapterFiles());
    const ids = [await tuners[0].adapters(), await tuners[1].adapters()];
    const run = tuners[0].train({ data, ...settings, max_steps: 1000 });
    await run.started;
    const pending = caught(() => tuners[0].planMemory({ data, ...settings }));
    tuners[0].dispose();
    const texts = [];
    for await (const piece of tuners[1].generate({ prompt: "The fox ", max_new_tokens: 4 })) texts.push(piece);
    const whole = await tuners[1].generate({ prompt: "The fox ", max_new_tokens: 4 }).report;
    const after = {
      pending: await pending,
      loop: await caught(async () => {
        for await (const _ of run);
      }),
      later: await caught(() => tuners[0].adapters()),
      twice: tuners[0].dispose(),
    };
    globalThis.tuner = tuners[1];
    return { together, alone, ids, texts, whole, after, lost };
  },
  {
    async check({ together, alone, ids, texts, whole, after, lost }, { page }) {
      assert.deepEqual(together, alone);
      assert.notDeepEqual(together[0], together[1]);
      assert.deepEqual(ids, [["default", "mine"], ["default"]]);
      assert.equal(texts.join(""), whole.text);
      assert.ok(texts.length > 1 && whole.tokens <= 4);
      for (const error of [after.pending, after.loop, after.later]) assert.equal(error.kind, "Cancelled", JSON.stringify(error));
      assert.deepEqual(lost, []);
      await hasWorkers(page, 1);
      await page.evaluate(() => globalThis.tuner[Symbol.asyncDispose]());
      await hasWorkers(page, 0);
    },
  },
);

onPage(
  "a run is aborted, left, stopped, paused and stepped; a text too",
  async ({ Tuner, caught }, { data, settings }) => {
    const tuner = await Tuner.create({ model: "built-in" });
    const long = { data, ...settings, max_steps: 1000 };
    const found = {};
    const controller = new AbortController();
    const first = [];
    const aborted = tuner.train({ ...long, signal: controller.signal, onEvent: ({ event }) => first.push(event) });
    found.second = await caught(async () => tuner.train(long));
    found.load = await caught(() => tuner.loadModel("built-in"));
    let seen = 0;
    found.aborted = await caught(async () => {
      for await (const { step } of aborted) {
        seen = step;
        if (step === 2) controller.abort(new RangeError("enough"));
      }
    });
    found.finished = await caught(() => aborted.finished);
    found.first = first[0];
    found.seen = seen;
    found.early = await caught(async () => {
      for await (const _ of tuner.train({ ...long, signal: AbortSignal.abort() }));
    });
    found.kept = await tuner.adapters();

    const left = tuner.train({ ...long, adapter: "left" });
    for await (const { step } of left) if (step === 2) break;
    const end = await left.finished;
    found.left = { stopped: end.stopped, files: Object.keys(end.files).sort(), step: end.step };

    const unbegun = tuner.train(long);
    await unbegun.stop();
    found.unbegun = await caught(() => unbegun.started);

    const events = [];
    const run = tuner.train({ ...settings, data, max_steps: 6, adapter: "held", onEvent: ({ event }) => events.push(event) });
    const held = await run.pause();
    const again = await run.pause();
    found.compiled = [];
    const onCompiling = ({ done, total }) => found.compiled.push(done === total);
    const text = await tuner.generate({ prompt: "The fox ", max_new_tokens: 2, onCompiling }).report;
    const stepped = await run.step(2);
    run.resume();
    found.notPaused = await caught(async () => run.resume());
    const steps = [];
    for await (const { step } of run) steps.push(step);
    found.held = { held: held.step, same: again === held, stepped: stepped.step, steps, text: text.tokens, last: (await run.finished).step };
    found.events = [...new Set(events)];
    found.over = [await run.pause(), await run.stop()];

    const writing = tuner.generate({ prompt: "The fox ", max_new_tokens: 200, temperature: 1 });
    for await (const _ of writing) break;
    found.writing = (await writing.report).stopped;
    const silence = new AbortController();
    found.silenced = await caught(async () => {
      for await (const _ of tuner.generate({ prompt: "The fox ", max_new_tokens: 200, temperature: 1, signal: silence.signal })) silence.abort();
    });
    found.download = await caught(() => tuner.loadModel("built-in", { signal: AbortSignal.abort() }));
    found.model = tuner.model?.name;
    const creating = new AbortController();
    found.create = await caught(() => Tuner.create({ model: "built-in", signal: creating.signal, onProgress: () => creating.abort() }));
    tuner.dispose();
    return found;
  },
  {
    async check(found, { page }) {
      assert.match(found.second.message, /A run is under way/);
      assert.equal(found.second.is[0], "ConfigError");
      assert.equal(found.load.is[0], "ConfigError");
      for (const error of [found.aborted, found.finished]) assert.equal(error.message, "enough");
      assert.ok(found.seen >= 2 && found.seen < 10, `${found.seen} steps`);
      for (const error of [found.early, found.silenced, found.download, found.create]) assert.equal(error.is[0], "DOMException", JSON.stringify(error));
      assert.deepEqual(found.kept, ["default"]);
      assert.equal(found.left.stopped, true);
      assert.deepEqual(found.left.files, ["adapter_config.json", "adapter_model.safetensors", "optimizer.safetensors", "trainer_state.json"]);
      assert.ok(found.left.step >= 2 && found.left.step < 10);
      assert.equal(found.unbegun.is[0], "CancelledError");
      const { held } = found;
      assert.equal(held.same, true);
      assert.equal(held.stepped, held.held + 2);
      assert.deepEqual(held.steps, [1, 2, 3, 4, 5, 6]);
      assert.ok(held.text <= 2 && held.last === 6);
      assert.equal(found.notPaused.is[0], "ConfigError");
      // A machine that is slow has a checkpoint, too.
      assert.deepEqual(found.events.filter((event) => event !== "checkpoint").sort(), ["finished", "paused", "step"]);
      // Shaders are compiled for who needs them first.
      assert.equal(found.first, "compiling");
      assert.deepEqual([found.compiled[0], found.compiled.at(-1)], [false, true]);
      assert.deepEqual(found.over, [undefined, undefined]);
      assert.equal(found.writing, "caller");
      assert.equal(found.model, "Story model, built in");
      // Of a tuner that was not to be, too.
      await hasWorkers(page, 0);
    },
  },
);

onPage(
  "an adapter goes out in every format and comes back the same; the base is untouched by strength 0",
  async ({ Tuner, adapterOf }, { data, settings }) => {
    const tuner = await Tuner.create({ model: "built-in", memoryBudget: 2 ** 30 });
    const plan = await tuner.planMemory({ data, ...settings });
    const { trainable } = await tuner.countParameters(settings);
    const report = await tuner.inspectData(data, { max_length: 32 });
    const samples = { every: 3, prompts: ["The fox "], max_new_tokens: 2, chat: false };
    const sampled = [];
    const onEvent = (event) => event.event === "samples" && sampled.push(event.step);
    const run = tuner.train({ data, evaluation: data, ...settings, max_steps: 6, eval_steps: 3, samples, onEvent });
    const [began, end] = [await run.started, await run.finished];
    const differences = {};
    for (const format of ["peft", "gguf", "mlx"]) {
      const file = await tuner.exportAdapter({ format });
      const files = await tuner.importAdapter(file, format);
      const prompt = "The fox ";
      differences[format] = (await tuner.checkAdapter("default", files, prompt)).max_difference;
    }
    const ofCheckpoint = await tuner.checkAdapter("default", adapterOf(end.files), "The fox ");
    const write = async (options) => (await tuner.generate({ prompt: "The fox ", max_new_tokens: 6, ...options }).report).text;
    const texts = [await write({ adapter: null }), await write({ adapter_scale: 0 }), await write({})];
    const merged = await tuner.exportModel({ name: "merged" });
    await tuner.dropAdapter("default");
    const left = await tuner.adapters();
    tuner.dispose();
    return { plan, trainable, examples: report.examples, began, end: { step: end.step, best: end.best_eval_loss }, sampled, differences, ofCheckpoint, texts, merged: [merged.file.name, merged.file.size, merged.check], left };
  },
  {
    check(found) {
      assert.ok(found.plan.fits && found.plan.budget.bytes === 2 ** 30 && found.plan.budget.source === "given");
      assert.equal(found.examples, 2);
      assert.ok(found.trainable > 0);
      assert.ok(found.began.eval_loss > found.end.best);
      assert.equal(found.end.step, 6);
      assert.deepEqual(found.sampled, [0, 3, 6]);
      for (const [format, difference] of Object.entries(found.differences)) assert.ok(difference <= 1e-4, `${format}: ${difference}`);
      assert.ok(found.ofCheckpoint.max_difference <= 1e-4);
      const [base, off, tuned] = found.texts;
      assert.equal(off, base);
      assert.notEqual(tuned, base);
      assert.equal(found.merged[0], "merged.zip");
      assert.ok(found.merged[1] > 3e6);
      const { max_difference, allowed, effect, dtype } = found.merged[2];
      assert.equal(dtype, "bfloat16");
      assert.ok(max_difference > 0 && max_difference <= allowed && allowed < effect, JSON.stringify(found.merged[2]));
      assert.deepEqual(found.left, []);
    },
  },
);

onPage(
  "errors have classes",
  async ({ Tuner, caught, fromFiles, fromFolder, fromHub, readAdapter }, { data, settings }) => {
    const tuner = await Tuner.create({ model: "built-in" });
    const text = (value) => new TextEncoder().encode(value);
    const train = (change) => caught(async () => await tuner.train({ data, ...settings, max_steps: 1, ...change }).finished);
    const parquet = { name: "bad.parquet", data: text(`PAR1${"x".repeat(100)}PAR1`) };
    const found = {
      DataError: await train({ data: { name: "bad.jsonl", data: text("no JSON\n") } }),
      "FormatError of data that is checked first": await train({ data: parquet }),
      "DataError of a file": await caught(() => tuner.inspectData(new File(["no JSON"], "bad.jsonl"))),
      ConfigError: await train({ r: 0 }),
      "ConfigError of a setting": await train({ rank: 8 }),
      "ConfigError of data": await train({ data: "some text" }),
      "ConfigError of a name": await caught(async () => fromHub("only-a-name")),
      "ConfigError of a text": await caught(() => tuner.generate({ prompt: "x", adapter: "none of that" }).report),
      "ConfigError without an adapter": await caught(() => tuner.exportAdapter()),
      FormatError: await caught(() => tuner.loadAdapter("bad", { config: text("{"), model: text("") })),
      "FormatError of files": await caught(() => fromFiles([new File([""], "config.json")])),
      "FormatError of an adapter": await caught(() => readAdapter([new File(["x"], "a.zip")])),
      "UnsupportedError of a model": await caught(() => tuner.loadModel([new File(["GGUF, but no more"], "bad.gguf")])),
      DownloadError: await caught(() => tuner.loadModel(fromFolder("nowhere/"))),
      OutOfMemoryError: await caught(() => Tuner.create({ model: "built-in", memoryBudget: 1000 })),
      "InternalError of a worker": await caught(() => Tuner.create({ workerUrl: "nowhere.js" })),
    };
    const still = (await tuner.generate({ prompt: "The fox ", max_new_tokens: 1 }).report).tokens;
    const model = tuner.model?.name;
    tuner.dispose();
    return { found, still, model };
  },
  {
    expected: /404 \(Not Found\)/,
    async check({ found, still, model }, { page }) {
      for (const [name, error] of Object.entries(found)) {
        assert.deepEqual(error.is?.slice(0, 2), [name.split(" ")[0], "PostilError"], `${name}: ${JSON.stringify(error)}`);
        assert.ok(error.message.length > 10);
      }
      assert.equal(found.OutOfMemoryError.kind, "OverBudget");
      // What was refused has left the model where it was.
      assert.deepEqual([still, model], [1, "Story model, built in"]);
      await hasWorkers(page, 0);
    },
  },
);

onPage("a browser without WebGPU is an UnsupportedError", async ({ Tuner, caught }) => await caught(() => Tuner.create()), {
  webgpu: false,
  check(error) {
    assert.equal(error.is[0], "UnsupportedError");
    assert.match(error.reason, /^no-(webgpu|adapter)$/);
  },
});

test("a lost device is a DeviceLostError, told once, and ends the tuner", { timeout: TIMEOUT }, async () => {
  const { page, close } = await openPage(`${server.url}blank.html`, { workerScript: KEEPS_DEVICE });
  await page.evaluate(async ({ data, settings }) => {
    const { Tuner } = await import(new URL("index.js", location.href).href);
    globalThis.lost = [];
    globalThis.tuner = await Tuner.create({ model: "built-in", onLost: ({ name, fatal }) => globalThis.lost.push([name, fatal]) });
    globalThis.run = globalThis.tuner.train({ data, ...settings, max_steps: 1000 });
    await globalThis.run.started;
  }, SMALL);
  await page.workers()[0].evaluate(() => self.lastDevice.destroy());
  const found = await page.evaluate(async () => {
    const named = (error) => error.name;
    const steps = (async () => {
      for await (const _ of globalThis.run);
    })();
    const errors = [await steps.catch(named), await globalThis.run.finished.catch(named), await globalThis.tuner.adapters().catch(named)];
    return { errors, lost: globalThis.lost };
  });
  assert.deepEqual(found, { errors: Array(3).fill("DeviceLostError"), lost: [["DeviceLostError", true]] });
  await close();
});

onPage(
  "the worker and the module can lie elsewhere",
  async ({ Tuner }) => {
    const tuner = await Tuner.create({ workerUrl: new URL("elsewhere/w.js", location.href), wasmUrl: "elsewhere/engine.wasm" });
    const { backend } = tuner.device;
    // Files that are checked first are checked there.
    const file = { name: "bad.parquet", data: new TextEncoder().encode("PAR1") };
    await tuner.dataColumns(file).catch(() => {});
    tuner.dispose();
    return backend;
  },
  {
    check(backend, { requests }) {
      assert.equal(backend, "BrowserWebGpu");
      const asked = requests.map((url) => url.replace(server.url, ""));
      assert.ok(asked.includes("elsewhere/w.js") && asked.includes("elsewhere/engine.wasm"), asked.join(" "));
      assert.ok(!asked.includes("worker.js") && !asked.includes("postil_bg.wasm"), asked.join(" "));
    },
  },
);
