// Settings outside the page: the modules that make texts of settings, and settings of texts.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { loadModules } from "./harness.mjs";

const run = promisify(execFile);

let load;
before(async () => (load = await loadModules()));
after(() => load?.close());

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
  const names = [
    "model.layers.2.self_attn.q_proj",
    "transformer.h.3.mlp.c_fc",
    "model.layers.12.mlp.up_proj",
    "model.layers.4.x",
  ];
  assert.deepEqual(names.map(matches), [true, true, false, false]);
  // The later word counts, and leaves what it does not speak of.
  const both = withLayers(first, 2, 5, 4, 8);
  assert.deepEqual(
    exceptions(both).map(({ layers, r }) => [ranges(layers), r]),
    [
      ["0–1", 8],
      ["2–5", 4],
    ],
  );
  assert.equal(ranges([0, 1, 2, 5, 7, 8]), "0–2, 5, 7–8");
  // A key of somebody else's stays as it is.
  const foreign = withLayers({ rank_pattern: { q_proj: 2 }, alpha_pattern: {} }, 1, 1, 4, 8);
  assert.deepEqual(
    exceptions(foreign).map(({ key, layers }) => layers ?? key),
    [[1], "q_proj"],
  );
  assert.deepEqual(withoutKey(foreign, "q_proj").rank_pattern, { "(layers|h)\\.(1)\\..*": 4 });
});

test("settings come back from the address as they went", async () => {
  const { fromHash, toHash } = await load("session/share.ts");
  const { withLayers } = await load("session/layers.ts");
  const { DEFAULTS } = await load("state/settings.ts");
  const modules = ["q_proj", "k_proj", "v_proj"];
  assert.equal(toHash({ settings: { target_modules: modules } }, modules), "#v=1");
  const layers = withLayers({ rank_pattern: { "mlp.up_proj": 3 }, alpha_pattern: {} }, 0, 3, 8, 20.5);
  const changed = {
    r: 4,
    lora_alpha: 9,
    lora_dropout: 0.05,
    target_modules: ["q_proj", "v_proj"],
    learning_rate: 1e-7,
    packing: true,
    lr_scheduler_type: "linear",
    seed: 0,
    assistant_only_loss: false,
    ...layers,
  };
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

test("what samples, Compare, a sweep and the memory budget are set to is in the address too", async () => {
  const { fromHash, toHash } = await load("session/share.ts");
  const { applyExtras, EXTRAS, extrasNow } = await load("session/extras.ts");
  const other = {
    sample_every: "5",
    sample_tokens: "9",
    temperature: "0",
    top_k: "3",
    top_p: "0.5",
    max_new_tokens: "12",
    generation_seed: "8",
    adapter_scale: "1.25",
    chat: "true",
    sweep_ranks: "2,64",
    sweep_targets: "qv,attention",
    sweep_alpha: "24",
    memory_gib: "1.5",
  };
  assert.deepEqual(Object.keys(other), Object.keys(EXTRAS));
  assert.deepEqual(extrasNow(), []);
  const pairs = Object.entries(other);
  assert.deepEqual(applyExtras(pairs), []);
  assert.deepEqual(extrasNow(), pairs);
  const hash = toHash({ settings: {}, extras: extrasNow() }, []);
  const back = fromHash(hash);
  assert.deepEqual([back.notes, back.extras], [[], pairs]);
  const wrong = [["temperature", "hot"], ["top_p", "0"], ["sample_every", "1.5"], ["adapter_scale", "2"], ["chat", "yes"], ["sweep_ranks", "3"], ["sweep_targets", "x"], ["sweep_alpha", ""], ["memory_gib", "0"]];
  assert.deepEqual(applyExtras(wrong).map((note) => note.split(" ")[0]), wrong.map(([name]) => name));
  assert.deepEqual(extrasNow(), pairs);
});

test("what an address has wrong is left out and named", async () => {
  const { fromHash } = await load("session/share.ts");
  assert.equal(fromHash(""), undefined);
  assert.equal(fromHash("#panel-2"), undefined);
  assert.match(fromHash("#v=2&r=4").notes.join(), /version 2; this page reads version 1/);
  const wrong = [
    "r=0",
    "r=1e9",
    "lora_alpha=x",
    "max_steps=",
    "learning_rate=-1",
    "packing=yes",
    "lr_scheduler_type=wavy",
  ];
  for (const pair of [
    ...wrong,
    "target_modules=a%20b",
    "rank_pattern=[1]",
    "rank_pattern=%7B",
    "layers=3-1:4:8",
    "layers=x",
    "model=no name",
    "__proto__=1",
    "toString=1",
  ]) {
    const { settings, notes, model } = fromHash(`#v=1&${pair}`);
    assert.equal(notes.length, 1, pair);
    assert.ok(notes[0].includes(pair.split("=")[0]), notes[0]);
    assert.ok(Object.values(settings).every((value) => Object.keys(value).length === 0) && model === undefined, pair);
  }
});

test("a run file comes back as it went, and what it has wrong is named", async () => {
  const { readRun, writeRun } = await load("session/run-file.ts");
  const whole = await description(
    { allModules: false },
    { r: 4, lora_alpha: 7, rank_pattern: { "layers.0.mlp.*": 2 }, max_steps: 7, max_length: 99 },
  );
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
  assert.deepEqual(file.data, {
    train: "./demo",
    eval: "./-held.csv",
    format: "alpaca",
    columns: { instruction: "q" },
  });
  assert.deepEqual([file.model, file.init_adapter, file.lora], ["owner/name@rev", "mine", undefined]);
  const asked = readRun(writeRun(own), "run.json");
  assert.equal(asked.model, "owner/name@rev");
  assert.deepEqual(asked.reading, { names: ["demo", "-held.csv"], format: "alpaca", columns: { instruction: "q" } });
  assert.match(asked.notes.join("\n"), /adapter mine[^]*\.\/demo and \.\/-held\.csv: choose these files under Data/);

  // What is left out has the command line's defaults.
  const least = readRun('{"postil": 1, "lora": {"r": 8}, "train": {"max_steps": 400}}', "x");
  const { r, lora_alpha, max_length, per_device_train_batch_size, warmup_steps, eval_steps } = least.settings;
  assert.deepEqual([r, lora_alpha, max_length, per_device_train_batch_size], [8, 16, 1024, 4]);
  assert.deepEqual([warmup_steps, eval_steps, least.set, least.model], [20, 40, "", "demo"]);
  // A share that is held out is one of a file without held-out data.
  const split = await description({ data: { train: { name: "a.csv" } } }, { eval_split: 0.1 });
  assert.deepEqual(JSON.parse(writeRun(split)).data, { train: "a.csv", eval_split: 0.1 });
  const shares = (data) => {
    const { settings, notes } = readRun(JSON.stringify({ postil: 1, data, train: { max_steps: 1 } }), "x");
    return [settings.eval_split, notes.filter((note) => note.includes("eval_split")).length];
  };
  assert.deepEqual(shares({ train: "a.csv", eval_split: 0.1 }), [0.1, 0]);
  assert.deepEqual(shares({ train: "a.csv", eval_split: null }), [0, 0]);
  for (const data of [{ train: "a.csv", eval_split: 1.5 }, { train: "a.csv", eval: "b.csv", eval_split: 0.1 }, { eval_split: 0.1 }]) {
    assert.deepEqual(shares(data), [0, 1]);
  }
  const odd = readRun(
    '{"postil": 1, "model": "./base", "more": 1, "lora": {"r": -1, "use_dora": true}, "train": {"num_train_epochs": 2, "weight_decay": 0.1, "save_steps": 5}, "data": {"train": "a.csv", "test": "b.csv", "format": "a b", "columns": {"prompt": 1}}}',
    "x",
  );
  assert.equal(odd.reading, undefined);
  for (const part of ["more", "save_steps", "data.test", "data.format", "data.columns", "r -1", "use_dora", "epochs", "weight_decay", "./base"])
    assert.ok(
      odd.notes.some((note) => note.includes(part)),
      part,
    );
  for (const [text, reason] of [
    ["{", "not JSON"],
    ["[]", "not a run file"],
    ['{"r": 1}', "not a run file"],
    ['{"postil": 2}', "version 2"],
  ]) {
    assert.throws(() => readRun(text, "x.json"), new RegExp(`x\\.json.*${reason}`));
  }
});

test("every setting is in the address, the run file, the command line and the script", async () => {
  const { DEFAULTS } = await load("state/settings.ts");
  const { toHash } = await load("session/share.ts");
  const { readRun, writeRun } = await load("session/run-file.ts");
  const { commandLine } = await load("session/command.ts");
  const { script } = await load("session/script.ts");
  const others = { lr_scheduler_type: "linear", target_modules: ["k_proj"], rank_pattern: { k_proj: 3 }, alpha_pattern: { k_proj: 5 } };
  const other = (name, value) => {
    if (name in others) return others[name];
    if (typeof value === "boolean") return !value;
    return ["lora_dropout", "eval_split"].includes(name) ? 0.1 : value + 1;
  };
  // With a chat's data, where only the assistant's turns can be trained on.
  const forms = async (settings, change = {}) => {
    const whole = await description({ allModules: false, records: "messages", ...change }, settings);
    return {
      hash: toHash({ settings: whole.settings }, ["k_proj", "q_proj", "v_proj"]),
      run: writeRun(whole),
      read: JSON.stringify(readRun(writeRun(whole), "x").settings),
      command: commandLine(whole),
      script: script(whole),
    };
  };
  for (const [name, value] of Object.entries(DEFAULTS)) {
    // What has held-out data has no share held out.
    const change = name === "eval_split" ? { data: { train: { name: "chats.jsonl" } } } : {};
    const before = await forms({}, change);
    const after = await forms({ [name]: other(name, value) }, change);
    for (const form of Object.keys(before)) assert.notEqual(after[form], before[form], `${name} is not in: ${form}`);
  }
});

test("the command line says the same, quoted for a shell", async () => {
  const { commandLine, quote } = await load("session/command.ts");
  const plain = commandLine(await description({}, { lora_dropout: 0.1, packing: true, assistant_only_loss: false }));
  assert.match(
    plain,
    /^postil train --model demo \\\n {2}--data demo:pirate \\\n {2}--rank 16 \\\n {2}--alpha 32 \\\n/,
  );
  for (const part of [
    "--dropout 0.1",
    "--target-modules all-linear",
    "--max-steps 100",
    "--batch-size 8",
    "--lr 0.0002",
    "--schedule cosine",
    "--packing",
    "--train-on-all",
    "--out adapter",
  ]) {
    assert.ok(plain.includes(`  ${part}`), part);
  }
  assert.ok(!plain.includes("--gradient-checkpointing"));
  const nasty = 'it\'s $(rm) `x`\n"é".jsonl';
  const words = ["--x", nasty, "", "a b", "layers\\.(0|1)\\..*=4", "-"];
  const { stdout } = await run("sh", ["-c", `printf '%s\\0' ${words.map(quote).join(" ")}`]);
  assert.deepEqual(stdout.split("\0").slice(0, -1), words);
  const own = commandLine(
    await description(
      { data: { train: { name: nasty, columns: { prompt: "a question" } } }, allModules: false },
      { rank_pattern: { "layers\\.0\\..*": 4 } },
    ),
  );
  const commas = { prompt: 'title, "short"', completion: "a, b" };
  const said = await description({ data: { train: { name: "x.csv", columns: commas } } });
  assert.ok(commandLine(said).includes(`--columns '"prompt=title, ""short""","completion=a, b"'`), commandLine(said));
  const { readRun, writeRun } = await load("session/run-file.ts");
  assert.deepEqual(readRun(writeRun(said), "run.json").reading.columns, commas);
  const { stdout: seen } = await run("sh", ["-c", `postil() { printf '%s\\0' "$@"; }; ${own}`]);
  const given = seen.split("\0");
  for (const [option, value] of [
    ["--data", nasty],
    ["--columns", "prompt=a question"],
    ["--target-modules", "q_proj,v_proj"],
    ["--rank-pattern", "layers\\.0\\..*=4"],
  ]) {
    assert.equal(given[given.indexOf(option) + 1], value);
  }
});

test("the script is Python, and says the same", async () => {
  const { script } = await load("session/script.ts");
  const folder = await mkdtemp(join(tmpdir(), "postil-script-"));
  const odd = 'it\'s "odd" \\ \u2028\n.csv';
  const own = (name, more = {}) => ({ train: { name, ...more }, eval: { name: "held.csv" } });
  const samples = {
    first: await description(),
    pattern: await description(
      { allModules: false },
      { rank_pattern: { "(layers|h)\\.(0|1)\\..*": 4 }, alpha_pattern: { "(layers|h)\\.(0|1)\\..*": 8 } },
    ),
    hub: await description({
      model: { hub: "owner/name@rev" },
      data: own(odd, { columns: { prompt: "q", completion: 'a"' } }),
    }),
    alpaca: await description(
      { model: { disk: "folder" }, data: own("x.tsv", { known: { output: "response" } }), records: "Alpaca" },
      { lr_scheduler_type: "constant" },
    ),
    sharegpt: await description({
      model: { disk: "m.gguf" },
      data: own("x.parquet"),
      records: "ShareGPT",
      initAdapter: "mine",
    }),
    gguf: await description({
      model: { hub: "owner/name/file.gguf" },
      data: own("x", { format: "txt,text" }),
      records: "text",
    }),
    blob: await description({ model: { disk: "sha256-0f", gguf: true } }),
  };
  const texts = Object.fromEntries(Object.entries(samples).map(([name, sample]) => [name, script(sample)]));
  for (const [name, text] of Object.entries(texts)) await writeFile(join(folder, `${name}.py`), text);
  const files = Object.keys(texts).map((name) => join(folder, `${name}.py`));
  await run(process.env.PYTHON ?? "python3", ["-m", "py_compile", ...files]);
  await rm(folder, { recursive: true });
  for (const [name, parts] of Object.entries({
    first: [
      'target_modules="all-linear"',
      "learning_rate=0.0002",
      "max_steps=100",
      '"demo/data/pirate-eval.jsonl"',
      "eval_steps=20",
      "packing=False",
    ],
    pattern: ['target_modules=["q_proj", "v_proj"]', '"(layers|h)\\\\.(0|1)\\\\..*": 4'],
    hub: ['"owner/name", revision="rev"', '"q": "prompt"', 'load_dataset("csv"'],
    alpaca: ["from_alpaca", 'sep="\\t"', '"constant_with_warmup"', '"./folder"', '"response": "output"'],
    sharegpt: ["from_sharegpt", "assistant_only_loss=True", 'gguf_file="m.gguf"', "is_trainable=True"],
    blob: ['".", gguf_file="sha256-0f"'],
    gguf: ['"owner/name", gguf_file="file.gguf"', 'sample_by="document"'],
  })) {
    for (const part of parts) assert.ok(texts[name].includes(part), `${name} has no ${part}:\n${texts[name]}`);
  }
  assert.ok(!texts.sharegpt.includes("LoraConfig"));
});

test("pasted text is recognised", async () => {
  const { kindOf } = await load("session/data.ts");
  const texts = [
    '{"a": 1}\n{"a": 2}',
    '{"a": 1}',
    '[{"a": 1}]',
    '{\n "data": [{"a": 1}]\n}',
    "a,b\n1,2",
    "a\tb\n1\t2",
    "Once, there was a very small mouse who lived alone in the wood\n",
    "",
  ];
  assert.deepEqual(texts.map(kindOf), ["jsonl", "jsonl", "json", "json", "csv", "tsv", "txt", "txt"]);
});
