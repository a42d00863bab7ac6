// Setting up a run: the steps, the model, the data, the adapter, and the settings outside the page.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { example, fakePage, trainButton, useFile } from "./fake-page.mjs";
import { file, loadModules, panel, setNumber } from "./harness.mjs";

const { onPage } = fakePage();
const run = promisify(execFile);

/** The page's modules that make texts of settings and settings of texts. */
let load;
before(async () => (load = await loadModules()));
after(() => load?.close());

const step = (page, title) => page.getByRole("navigation", { name: "Steps" }).getByRole("link", { name: typeof title === "string" ? new RegExp(`^${title} `) : title });
const summary = (page, text) => page.locator("summary").getByText(text, { exact: true });

/** A description of a run, with what differs from the page's first. */
async function description(change = {}, settings = {}) {
  const { DEFAULTS } = await load("state/settings.ts");
  return {
    model: { builtIn: true },
    data: { set: { id: "pirate", train: "pirate.jsonl", eval: "pirate-eval.jsonl" } },
    records: "prompt/completion",
    allModules: true,
    settings: { ...DEFAULTS, target_modules: ["q_proj", "v_proj"], ...settings },
    ...change,
  };
}

test("layers' ranks are keys that PEFT matches against whole names", async () => {
  const { exceptions, ranges, withLayers, withoutKey } = await load("session/layers.ts");
  const none = { rank_pattern: {}, alpha_pattern: {} };
  const first = withLayers(none, 0, 3, 8, 16);
  assert.deepEqual(first, {
    rank_pattern: { "(layers|h)\\.(0|1|2|3)\\..*": 8 },
    alpha_pattern: { "(layers|h)\\.(0|1|2|3)\\..*": 16 },
  });
  const [key] = Object.keys(first.rank_pattern);
  const matches = (name) => new RegExp(`^(.*\\.)?(${key})$`).test(name);
  const names = ["model.layers.2.self_attn.q_proj", "transformer.h.3.mlp.c_fc", "model.layers.12.mlp.up_proj", "model.layers.4.x"];
  assert.deepEqual(names.map(matches), [true, true, false, false]);
  // The later word counts, and leaves what it does not speak of.
  const both = withLayers(first, 2, 5, 4, 8);
  assert.deepEqual(exceptions(both).map(({ layers, r }) => [ranges(layers), r]), [["0–1", 8], ["2–5", 4]]);
  assert.equal(ranges([0, 1, 2, 5, 7, 8]), "0–2, 5, 7–8");
  // A key of somebody else's stays as it is.
  const foreign = withLayers({ rank_pattern: { q_proj: 2 }, alpha_pattern: {} }, 1, 1, 4, 8);
  assert.deepEqual(exceptions(foreign).map(({ key, layers }) => layers ?? key), [[1], "q_proj"]);
  assert.deepEqual(withoutKey(foreign, "q_proj").rank_pattern, { "(layers|h)\\.(1)\\..*": 4 });
});

test("settings come back from the address as they went", async () => {
  const { fromHash, toHash } = await load("session/share.ts");
  const { withLayers } = await load("session/layers.ts");
  const { DEFAULTS } = await load("state/settings.ts");
  const modules = ["q_proj", "k_proj", "v_proj"];
  assert.equal(toHash({ settings: { target_modules: modules } }, modules), "#v=1");
  const layers = withLayers({ rank_pattern: { "mlp.up_proj": 3 }, alpha_pattern: {} }, 0, 3, 8, 20.5);
  const changed = { r: 4, lora_alpha: 9, lora_dropout: 0.05, target_modules: ["q_proj", "v_proj"], learning_rate: 1e-7, packing: true, lr_scheduler_type: "linear", seed: 0, assistant_only_loss: false, ...layers };
  const hash = toHash({ model: "owner/name@v1.0", data: "json", settings: changed }, modules);
  assert.match(hash, /^#v=1&model=owner\/name@v1\.0&data=json&r=4&/);
  assert.match(hash, /&layers=0-3:8:20\.5(&|$)/);
  assert.match(hash, /&target_modules=q_proj,v_proj(&|$)/);
  const back = fromHash(hash);
  assert.deepEqual(back.notes, []);
  assert.deepEqual([back.model, back.data], ["owner/name@v1.0", "json"]);
  assert.deepEqual({ ...DEFAULTS, ...back.settings }, { ...DEFAULTS, ...changed });
  // Alpha follows the rank unless it is written.
  assert.equal(fromHash("#v=1&r=6").settings.lora_alpha, 12);
});

test("what an address has wrong is left out and named", async () => {
  const { fromHash } = await load("session/share.ts");
  assert.equal(fromHash(""), undefined);
  assert.equal(fromHash("#panel-2"), undefined);
  assert.match(fromHash("#v=2&r=4").notes.join(), /version 2; this page reads version 1/);
  const wrong = ["r=0", "r=1e9", "lora_alpha=x", "max_steps=", "learning_rate=-1", "packing=yes", "lr_scheduler_type=wavy"];
  for (const pair of [...wrong, "target_modules=a%20b", "rank_pattern=[1]", "rank_pattern=%7B", "layers=3-1:4:8", "layers=x", "model=no name", "__proto__=1", "toString=1"]) {
    const { settings, notes, model } = fromHash(`#v=1&${pair}`);
    assert.equal(notes.length, 1, pair);
    assert.ok(notes[0].includes(pair.split("=")[0]), notes[0]);
    assert.ok(Object.values(settings).every((value) => Object.keys(value).length === 0) && model === undefined, pair);
  }
});

test("a run file comes back as it went, and what it has wrong is named", async () => {
  const { readRun, writeRun } = await load("session/run-file.ts");
  const whole = await description({ allModules: false }, { r: 4, lora_alpha: 7, rank_pattern: { "layers.0.mlp.*": 2 }, max_steps: 7, max_length: 99 });
  const written = JSON.parse(writeRun(whole));
  assert.deepEqual(Object.keys(written), ["postil", "model", "data", "lora", "train"]);
  assert.deepEqual([written.postil, written.model, written.data], [1, "demo", { train: "demo:pirate" }]);
  assert.deepEqual(written.lora, {
    r: 4,
    lora_alpha: 7,
    lora_dropout: 0,
    target_modules: ["q_proj", "v_proj"],
    rank_pattern: { "layers.0.mlp.*": 2 },
  });
  const read = readRun(writeRun(whole), "run.json");
  assert.deepEqual([read.model, read.set, read.notes], ["demo", "pirate", []]);
  assert.deepEqual(read.settings, whole.settings);

  const own = await description({
    model: { hub: "owner/name@rev" },
    data: { train: { name: "demo", format: "alpaca", columns: { instruction: "q" } }, eval: { name: "-held.csv" } },
    initAdapter: "mine",
  });
  const file = JSON.parse(writeRun(own));
  assert.deepEqual(file.data, { train: "./demo", eval: "./-held.csv", format: "alpaca", columns: { instruction: "q" } });
  assert.deepEqual([file.model, file.init_adapter, file.lora], ["owner/name@rev", "mine", undefined]);
  const asked = readRun(writeRun(own), "run.json");
  assert.equal(asked.model, "owner/name@rev");
  assert.match(asked.notes.join("\n"), /adapter mine[^]*\.\/demo and \.\/-held\.csv: choose these files under Data/);

  // What is left out has the command line's defaults.
  const least = readRun('{"postil": 1, "lora": {"r": 8}, "train": {"max_steps": 400}}', "x");
  const { r, lora_alpha, max_length, per_device_train_batch_size, warmup_steps, eval_steps } = least.settings;
  assert.deepEqual([r, lora_alpha, max_length, per_device_train_batch_size], [8, 16, 1024, 4]);
  assert.deepEqual([warmup_steps, eval_steps, least.set, least.model], [20, 40, "", "demo"]);
  const odd = readRun('{"postil": 1, "model": "./base", "more": 1, "lora": {"r": -1, "use_dora": true}, "train": {"num_train_epochs": 2, "weight_decay": 0.1}}', "x");
  for (const part of ["more", "r -1", "use_dora", "epochs", "weight_decay", "./base"]) assert.ok(odd.notes.some((note) => note.includes(part)), part);
  for (const [text, reason] of [["{", "not JSON"], ["[]", "not a run file"], ['{"r": 1}', "not a run file"], ['{"postil": 2}', "version 2"]]) {
    assert.throws(() => readRun(text, "x.json"), new RegExp(`x\\.json.*${reason}`));
  }
});

test("the command line says the same, quoted for a shell", async () => {
  const { commandLine, quote } = await load("session/command.ts");
  const plain = commandLine(await description({}, { lora_dropout: 0.1, packing: true, assistant_only_loss: false }));
  assert.match(plain, /^postil train --model demo \\\n {2}--data demo:pirate \\\n {2}--rank 16 \\\n {2}--alpha 32 \\\n/);
  for (const part of ["--dropout 0.1", "--target-modules all-linear", "--max-steps 100", "--batch-size 8", "--lr 0.0002", "--schedule cosine", "--packing", "--train-on-all", "--out adapter"]) {
    assert.ok(plain.includes(`  ${part}`), part);
  }
  assert.ok(!plain.includes("--gradient-checkpointing"));
  const nasty = "it's $(rm) `x`\n\"é\".jsonl";
  const words = ["--x", nasty, "", "a b", "layers\\.(0|1)\\..*=4", "-"];
  const { stdout } = await run("sh", ["-c", `printf '%s\\0' ${words.map(quote).join(" ")}`]);
  assert.deepEqual(stdout.split("\0").slice(0, -1), words);
  const own = commandLine(
    await description(
      { data: { train: { name: nasty, columns: { prompt: "a question" } } }, allModules: false },
      { rank_pattern: { "layers\\.0\\..*": 4 } },
    ),
  );
  const { stdout: seen } = await run("sh", ["-c", `postil() { printf '%s\\0' "$@"; }; ${own}`]);
  const given = seen.split("\0");
  for (const [option, value] of [["--data", nasty], ["--columns", "prompt=a question"], ["--target-modules", "q_proj,v_proj"], ["--rank-pattern", "layers\\.0\\..*=4"]]) {
    assert.equal(given[given.indexOf(option) + 1], value);
  }
});

test("the script is Python, and says the same", async () => {
  const { script } = await load("session/script.ts");
  const folder = await mkdtemp(join(tmpdir(), "postil-script-"));
  const odd = "it's \"odd\" \\ \u2028\n.csv";
  const own = (name, more = {}) => ({ train: { name, ...more }, eval: { name: "held.csv" } });
  const samples = {
    first: await description(),
    pattern: await description({ allModules: false }, { rank_pattern: { "(layers|h)\\.(0|1)\\..*": 4 }, alpha_pattern: { "(layers|h)\\.(0|1)\\..*": 8 } }),
    hub: await description({ model: { hub: "owner/name@rev" }, data: own(odd, { columns: { prompt: "q", completion: 'a"' } }) }),
    alpaca: await description({ model: { disk: "folder" }, data: own("x.tsv"), records: "Alpaca" }, { lr_scheduler_type: "constant" }),
    sharegpt: await description({ model: { disk: "m.gguf" }, data: own("x.parquet"), records: "ShareGPT", initAdapter: "mine" }),
    gguf: await description({ model: { hub: "owner/name/file.gguf" }, data: own("x", { format: "txt,text" }), records: "text" }),
  };
  const texts = Object.fromEntries(Object.entries(samples).map(([name, sample]) => [name, script(sample)]));
  for (const [name, text] of Object.entries(texts)) await writeFile(join(folder, `${name}.py`), text);
  const files = Object.keys(texts).map((name) => join(folder, `${name}.py`));
  await run(process.env.PYTHON ?? "python3", ["-m", "py_compile", ...files]);
  await rm(folder, { recursive: true });
  for (const [name, parts] of Object.entries({
    first: ['target_modules="all-linear"', "learning_rate=0.0002", "max_steps=100", '"demo/data/pirate-eval.jsonl"', "eval_steps=20", "packing=False"],
    pattern: ['target_modules=["q_proj", "v_proj"]', '"(layers|h)\\\\.(0|1)\\\\..*": 4'],
    hub: ['"owner/name", revision="rev"', '"q": "prompt"', 'load_dataset("csv"'],
    alpaca: ["from_alpaca", 'sep="\\t"', '"constant_with_warmup"', '"./folder"'],
    sharegpt: ["from_sharegpt", "assistant_only_loss=True", 'gguf_file="m.gguf"', "is_trainable=True"],
    gguf: ['"owner/name", gguf_file="file.gguf"', 'sample_by="document"'],
  })) {
    for (const part of parts) assert.ok(texts[name].includes(part), `${name} has no ${part}:\n${texts[name]}`);
  }
  assert.ok(!texts.sharegpt.includes("LoraConfig"));
});

test("pasted text is recognised", async () => {
  const { kindOf } = await load("session/data.ts");
  const texts = ['{"a": 1}\n{"a": 2}', '{"a": 1}', '[{"a": 1}]', '{\n "data": [{"a": 1}]\n}', "a,b\n1,2", "a\tb\n1\t2", "Once, there was a very small mouse who lived alone in the wood\n", ""];
  assert.deepEqual(texts.map(kindOf), ["jsonl", "jsonl", "json", "json", "csv", "tsv", "txt", "txt"]);
});

onPage("the steps at the top say how each stands, lead to their panels, and start and stop a run", async (page) => {
  assert.deepEqual(await page.locator("nav.path li").allTextContents(), [
    "✓ModelStory model, built in(done)",
    "✓Data4 examples(done)",
    "✓Adapter57.3K parameters(done)",
    "›Trainready to start(ready)",
    "›Comparebase only so far(ready)",
    "·Downloadafter training(later)",
  ]);
  await page.getByRole("link", { name: "Data 4 examples (done)", exact: true }).waitFor();
  const address = page.url();
  await step(page, "Adapter").click();
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Adapter");
  const covered = await page.evaluate(() => {
    const bottom = document.querySelector("nav.path").getBoundingClientRect().bottom;
    return document.activeElement.getBoundingClientRect().top < bottom;
  });
  assert.ok(!covered, "the heading is under the steps");
  assert.equal(page.url(), address);

  await useFile(page, "bad.jsonl", "not json\n");
  await step(page, /^Data cannot be used as it is \(needs attention\)/).waitFor();
  await step(page, /^Train not yet \(later\)/).waitFor();
  const start = page.getByRole("button", { name: "Start training" });
  assert.ok(await start.isDisabled());
  await page.getByRole("radio", { name: /Plain/ }).check();
  await setNumber(page, "Rank", 0);
  await step(page, /^Adapter .*\(needs attention\)/).waitFor();
  await setNumber(page, "Rank", 4);
  await setNumber(page, "Steps", 5000);
  await page.evaluate(() => scrollTo(0, document.body.scrollHeight));
  await start.click();
  await step(page, /^Train step \d+ of 5000 \(under way\)/).waitFor();
  await page.getByRole("button", { name: "Stop training" }).click();
  await step(page, /^Train stopped, step \d+ of 5000 \(done\)/).waitFor();
  await step(page, /^Download adapter of step \d+ \(ready\)/).waitFor();
});

onPage("a wrong field of the adapter keeps a run from starting", async (page) => {
  await setNumber(page, "Dropout", 0.999);
  await page.getByRole("button", { name: "Start training" }).click();
  await page.waitForTimeout(300);
  assert.match(await page.evaluate(() => document.activeElement.labels[0].textContent), /Dropout/);
  await page.getByText("Ready.").waitFor();
});

onPage("models are suggested by size, and chosen by a press", async (page) => {
  const model = panel(page, "Model");
  await summary(page, "Use another model").click();
  await summary(page, "Small open models").click();
  const items = model.locator(".suggestions li");
  const text = await items.allTextContents();
  assert.ok(text.some((item) => /SmolLM2-135M135M parameters, 257 MiB to download, licence Apache 2\.0✓ Probably trains on this device: needs about/.test(item)), text[1]);
  assert.ok(text.some((item) => /Phi-3-mini.*7\.1 GiB.*! May be too large for this device.*1\.0 GiB are counted on/.test(item)), text.at(-1));
  assert.ok(text.some((item) => /Llama-3\.2-1B.*gated: accept its terms/.test(item)));
  await model.getByRole("button", { name: "Choose Qwen/Qwen3-0.6B" }).click();
  assert.equal(await page.getByLabel("Model name").inputValue(), "Qwen/Qwen3-0.6B");
});

/** Drops files on an element; with `folder`, as the files of one. */
async function drop(locator, files, folder) {
  await locator.evaluate(
    (element, { files, folder }) => {
      const transfer = new DataTransfer();
      const made = files.map(([name, text]) => new File([text], name));
      for (const file of made) transfer.items.add(file);
      const event = new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true });
      if (folder) {
        const entry = (file) => ({ isFile: true, isDirectory: false, name: file.name, file: (give) => give(file) });
        let batches = [made.slice(0, 2).map(entry), made.slice(2).map(entry), []];
        const root = { isFile: false, isDirectory: true, name: folder, createReader: () => ({ readEntries: (give) => give(batches.shift()) }) };
        Object.defineProperty(event.dataTransfer, "items", { value: [{ kind: "file", webkitGetAsEntry: () => root }] });
      }
      element.dispatchEvent(event);
    },
    { files, folder },
  );
}

onPage("a model's folder can be dropped anywhere on its panel", async (page) => {
  const config = await readFile(new URL("fake/demo/config.json", import.meta.url), "utf8");
  const files = [["config.json", config], ["tokenizer.json", "{}"], ["model.safetensors", "weights"]];
  const model = panel(page, "Model");
  await drop(model.getByRole("heading", { name: "Model", exact: true }), files.slice(0, 2), "dropped");
  await model.getByRole("alert").getByText("Missing: model.safetensors").waitFor();
  await drop(model.getByRole("heading", { name: "Model", exact: true }), files, "dropped");
  await model.locator(".model-name").getByText("dropped").waitFor();
  // Without a folder.
  await drop(model.locator("dl"), [["tiny.gguf", "weights"]]);
  await model.locator(".model-name").getByText("tiny.gguf").waitFor();
  // The files' names are theirs.
  await page.waitForTimeout(500);
  assert.ok(!page.url().includes("gguf"));
});

onPage("data is dropped or pasted, and its first rows are shown with what they are read as", async (page) => {
  const data = panel(page, "Data");
  await drop(data.getByRole("heading", { name: "Data", exact: true }), [["dropped.jsonl", example("x") + example("y")]]);
  await data.getByRole("heading", { name: /dropped\.jsonl/ }).waitFor();
  await summary(page, "Paste text instead").click();
  const use = page.getByRole("button", { name: "Use this text" });
  assert.ok(await use.isDisabled());
  const long = "why ".repeat(60);
  const row = (prompt) => JSON.stringify({ prompt, completion: "Because.", source: "<b>web</b>" });
  await page.getByLabel("Examples", { exact: true }).fill([row(long), ...Array(3).fill(row("Short?"))].join("\n"));
  await page.getByLabel("Read the text as").getByText("what it looks like: JSON Lines").waitFor({ state: "attached" });
  await use.click();
  await data.getByRole("heading", { name: /pasted\.jsonl/ }).waitFor();
  const rows = data.getByRole("group", { name: "First rows" });
  assert.deepEqual(await rows.locator("th").allTextContents(), ["promptread", "completionread", "sourcenot read"]);
  assert.equal(await rows.locator("tbody tr").count(), 4);
  assert.equal(await rows.locator("td").nth(2).textContent(), "<b>web</b>");
  await rows.locator("summary").click();
  await rows.getByText(long.trim()).waitFor();
  await data.getByText(/There are only 4 examples: enough to try things out/).waitFor();
  await page.getByText("Ready.").waitFor();
});

onPage("conversations are shown as their turns, and mapped columns under their own names", async (page) => {
  const line = `${JSON.stringify({ q: "Why?", a: "So." })}\n`;
  await useFile(page, "named.jsonl", line);
  await page.getByLabel("Read the records as").selectOption("Prompt and completion");
  await page.getByLabel("Prompt is in").selectOption("q");
  await page.getByLabel("Completion is in").selectOption("a");
  const rows = panel(page, "Data").getByRole("group", { name: "First rows" });
  await rows.waitFor();
  assert.deepEqual(await rows.locator("th").allTextContents(), ["qread as prompt", "aread as completion"]);
  const messages = [{ role: "user", content: "Hi" }, { role: "assistant", content: "Ho" }];
  await useFile(page, "chat.jsonl", JSON.stringify({ messages }));
  await rows.getByText("user: Hi").waitFor();
  assert.equal(await rows.locator("td").first().textContent(), "user: Hi\nassistant: Ho");
});

onPage("the rank has a slider, and modules have presets", async (page) => {
  const slider = page.getByRole("slider", { name: /Size/ });
  const rank = page.getByLabel("Rank", { exact: true });
  assert.equal(await slider.getAttribute("aria-valuetext"), "rank 16");
  await slider.press("ArrowRight");
  assert.equal(await rank.inputValue(), "24");
  assert.equal(await page.getByLabel("Alpha", { exact: true }).inputValue(), "48");
  await slider.press("Home");
  assert.equal(await rank.inputValue(), "1");
  await slider.press("End");
  assert.equal(await rank.inputValue(), "256");
  await rank.fill("5");
  assert.equal(await slider.getAttribute("aria-valuetext"), "rank 5");
  const chosen = async () => await page.locator(".modules label:has(:checked)").allTextContents();
  const preset = (name) => page.getByRole("button", { name, exact: true });
  assert.equal(await preset("all linear").getAttribute("aria-pressed"), "true");
  await preset("attention q, v").click();
  assert.deepEqual(await chosen(), ["q_proj", "v_proj"]);
  await preset("attention").click();
  assert.deepEqual(await chosen(), ["q_proj", "k_proj", "v_proj", "o_proj"]);
  assert.deepEqual(await Promise.all(["attention", "all linear"].map((name) => preset(name).getAttribute("aria-pressed"))), ["true", "false"]);
  await panel(page, "Adapter").getByText("10,240 trainable parameters").waitFor();
  await panel(page, "Adapter").getByText("a file of about 40 KiB").waitFor();
});

onPage("layers can have other ranks, and the picture is to scale", async (page) => {
  const adapter = panel(page, "Adapter");
  await setNumber(page, "Rank", 8);
  await summary(page, "Other ranks for some layers").click();
  const set = async (from, to, rank) => {
    await setNumber(page, "From layer", from);
    await setNumber(page, "To layer", to);
    await setNumber(page, "Their rank", rank);
    await page.getByRole("button", { name: "Set this rank" }).click();
  };
  await set(2, 9, 4);
  await adapter.getByRole("alert").getByText("Layers are counted from 0 to 3").waitFor();
  await set(0, 2, 4);
  const rows = adapter.locator(".layer-ranks tbody tr");
  await adapter.getByText("17,920 trainable parameters").waitFor();
  await set(2, 3, 2);
  await adapter.getByText("10,752 trainable parameters").waitFor();
  assert.deepEqual(await rows.allTextContents(), ["0–148Remove", "2–324Remove"]);
  await page.getByLabel("Picture of").selectOption("up_proj, rank 4");
  const boxes = await adapter.locator(".low-rank-drawing rect").evaluateAll((rects) => rects.map(({ width, height }) => [width.baseVal.value, height.baseVal.value]));
  const [w, b, a] = boxes;
  assert.deepEqual([w[0] / w[1], b[1] / w[1], a[0] / w[0], w[0] / b[0], w[1] / a[1]], [1, 1, 1, 16, 16]);
  await adapter.getByText("B, 64 × 4, and A, 4 × 64: together 512 numbers, 12.5 % of W’s, 8.0 times fewer.").waitFor();
  await page.getByRole("button", { name: "Remove the rank of layers 2–3" }).click();
  await adapter.getByText("21,504 trainable parameters").waitFor();
  await page.waitForTimeout(500);
  assert.match(page.url(), /#v=1&r=8&layers=0-1:4:8$/);
});

onPage("the address follows the settings, and a fresh page takes them from it", async (page, { requests }) => {
  assert.ok(!page.url().includes("#"));
  await setNumber(page, "Steps", 7);
  await setNumber(page, "Rank", 4);
  await page.getByRole("radio", { name: /Markup/ }).check();
  await page.waitForFunction(() => location.hash === "#v=1&data=markup&r=4&max_steps=7");
  await page.reload();
  await page.getByText("Ready.").waitFor();
  const value = (label) => page.getByRole("spinbutton", { name: label, exact: true }).inputValue();
  assert.deepEqual(await Promise.all(["Steps", "Rank", "Alpha"].map(value)), ["7", "4", "8"]);
  assert.ok(await page.getByRole("radio", { name: /Markup/ }).isChecked());
  // An address that the user changes is read, too; what is wrong with it is said.
  await page.evaluate(() => (location.hash = "#v=1&r=6&max_steps=0&target_modules=q_proj,c_attn&data=none&max_length=9999"));
  const arrived = page.getByRole("region", { name: "Settings from a link or a run file" });
  await arrived.getByText("max_steps 0 was left out").waitFor();
  await arrived.getByText("This model has no c_attn").waitFor();
  await arrived.getByText("this model’s context is 256 tokens").waitFor();
  await arrived.getByText("There is no built-in data set none").waitFor();
  assert.deepEqual(await Promise.all(["Steps", "Rank"].map(value)), ["7", "6"]);
  await arrived.getByRole("button", { name: "Close" }).click();
  assert.equal(await arrived.count(), 0);
  assert.ok(!requests.some((url) => url.includes("#")));
});

onPage("a link to a model on the Hub asks before it loads", async (page, { requests }) => {
  await page.getByText("These settings are for owner/named@dev from the Hub.").waitFor();
  await page.getByRole("button", { name: "Load owner/named@dev" }).waitFor();
  assert.ok(!requests.some((url) => url.includes("huggingface")));
  assert.equal(await page.getByLabel("Rank", { exact: true }).inputValue(), "4");
  // The address still names the model that was asked for.
  await page.waitForTimeout(500);
  assert.match(page.url(), /model=owner\/named@dev&data=markup&r=4/);
  await page.getByRole("button", { name: "Close" }).click();
  await page.waitForFunction(() => !location.hash.includes("model="));
}, { hash: "#v=1&model=owner/named@dev&r=4&data=markup&target_modules=q_proj,gone" });

onPage("the run file goes out and comes back", async (page) => {
  await setNumber(page, "Steps", 7);
  await page.getByRole("button", { name: "attention q, v" }).click();
  const waiting = page.waitForEvent("download");
  await page.getByRole("button", { name: "Download run.json" }).click();
  const download = await waiting;
  assert.equal(download.suggestedFilename(), "run.json");
  const written = await readFile(await download.path(), "utf8");
  const { model, data, lora, train } = JSON.parse(written);
  assert.deepEqual([model, data.train, lora.target_modules, train.max_steps], ["demo", "demo:plain", ["q_proj", "v_proj"], 7]);
  await page.reload();
  await page.evaluate(() => (location.hash = "#v=1"));
  await page.getByText("Ready.").waitFor();
  await setNumber(page, "Steps", 9);
  await page.getByRole("radio", { name: /Markup/ }).check();
  const chooser = page.getByLabel("Open a run file");
  await chooser.setInputFiles(file("run.json", written));
  await page.waitForFunction(() => location.hash === "#v=1&max_steps=7&target_modules=q_proj,v_proj");
  assert.ok(await page.getByRole("radio", { name: /Plain/ }).isChecked());
  await chooser.setInputFiles(file("x.json", "{}"));
  await page.getByText("x.json is not a run file").waitFor();
  await chooser.setInputFiles(file("x.json", JSON.stringify({ postil: 1, data: { train: "mine.csv" }, train: { max_steps: 3 } })));
  await page.getByText("The run’s data is mine.csv: choose this file under Data.").waitFor();
});

onPage("the command line and the script are shown and copied", async (page) => {
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await summary(page, "The same run on the command line").click();
  await setNumber(page, "Steps", 7);
  await page.getByLabel("The same run on the command line").getByText("--max-steps 7").waitFor();
  await page.getByRole("button", { name: "Copy the command" }).click();
  await page.getByText("Copied.").waitFor();
  const copied = () => page.evaluate(() => navigator.clipboard.readText());
  assert.match(await copied(), /^postil train --model demo[^]*--data demo:plain[^]*--max-steps 7/);
  await summary(page, "The same run in Python, with PEFT and TRL").click();
  await page.getByLabel("The same run in Python, with PEFT and TRL").getByText("max_steps=7").waitFor();
  await page.getByRole("button", { name: "Copy the link" }).click();
  await page.waitForFunction(async () => (await navigator.clipboard.readText()) === location.href);
});

onPage(
  "fits a phone with everything open",
  async (page) => {
    const wide = { prompt: "why ".repeat(60), completion: "x".repeat(300), one: "1", two: "2", three: "3" };
    await useFile(page, "wide.jsonl", JSON.stringify(wide));
    await page.getByRole("group", { name: "First rows" }).waitFor();
    for (let closed; (closed = page.locator("main details:not([open]) > summary")) && (await closed.count()) > 0; ) await closed.first().click();
    const { scroll, client } = await page.evaluate(() => ({
      scroll: document.documentElement.scrollWidth,
      client: document.documentElement.clientWidth,
    }));
    assert.ok(scroll <= client, `${scroll} > ${client}`);
    assert.ok(await trainButton(page).isEnabled());
  },
  { viewport: { width: 375, height: 740 } },
);
