// Models from the Hub on the real engine: a small one without room to keep it, one as a GGUF file, and one of 200 MB, that
// also from a folder and, without the Hub, from the browser's own files, with little memory of WebAssembly's; and a step of
// training.
import assert from "node:assert/strict";
import { copyFileSync, mkdirSync, openSync, readFileSync, readSync, statSync, writeFileSync, writeSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { build, file, here, KEEPS_MEMORY, openPage, panel, remove, serve, setNumber, www } from "./harness.mjs";
import { startHub } from "./hub-server.mjs";

/** A software GPU on a busy machine: minutes, not seconds. */
const TIMEOUT = 10 * 60_000;
const REPO = "owner/random-100m";
const SMALL_REPO = "owner/story-model";
const GGUF = { repo: "owner/tiny-GGUF", file: "llama-smollm.gguf" };
const MODEL_BYTES = 200e6;
const MOST_WASM_BYTES = 150e6;

let root;
let page;
let server;

before(async () => {
  root = await mkdtemp(join(tmpdir(), "postil-large-"));
  writeModel(join(root, "random-100m"));
  process.env.VITE_HUB_ORIGINS = "http://127.0.0.1:*";
  page = await build();
  server = await serve([page], undefined, KEEPS_MEMORY);
});

after(async () => {
  delete process.env.VITE_HUB_ORIGINS;
  server?.close();
  for (const folder of [page, root]) if (folder) await remove(folder);
});

/** A Llama of random bf16 weights with the built-in model's tokenizer. */
function writeModel(folder) {
  mkdirSync(folder);
  const demo = join(www, "public", "demo");
  for (const name of ["tokenizer.json", "tokenizer_config.json"]) copyFileSync(join(demo, name), join(folder, name));
  const small = JSON.parse(readFileSync(join(demo, "config.json"), "utf8"));
  const sizes = { hidden_size: 1024, intermediate_size: 4096, num_hidden_layers: 6 };
  const heads = { num_attention_heads: 16, num_key_value_heads: 16, head_dim: 64 };
  writeFileSync(join(folder, "config.json"), JSON.stringify({ ...small, ...sizes, ...heads, tie_word_embeddings: true }));

  const { hidden_size: d, intermediate_size: ff } = sizes;
  const shapes = { "model.embed_tokens.weight": [small.vocab_size, d], "model.norm.weight": [d] };
  for (let i = 0; i < sizes.num_hidden_layers; i++) {
    const layer = `model.layers.${i}`;
    for (const name of ["input_layernorm", "post_attention_layernorm"]) shapes[`${layer}.${name}.weight`] = [d];
    for (const name of ["q", "k", "v", "o"]) shapes[`${layer}.self_attn.${name}_proj.weight`] = [d, d];
    for (const name of ["gate", "up"]) shapes[`${layer}.mlp.${name}_proj.weight`] = [ff, d];
    shapes[`${layer}.mlp.down_proj.weight`] = [d, ff];
  }
  const header = {};
  let end = 0;
  const bytes = (shape) => 2 * shape.reduce((product, size) => product * size, 1);
  for (const [name, shape] of Object.entries(shapes)) {
    header[name] = { dtype: "BF16", shape, data_offsets: [end, (end += bytes(shape))] };
  }
  assert.ok(end > MODEL_BYTES);
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const output = openSync(join(folder, "model.safetensors"), "w");
  writeSync(output, Buffer.concat([length, json]));
  const ones = Buffer.from(new Uint16Array(d).fill(0x3f80).buffer);
  for (const shape of Object.values(shapes)) writeSync(output, shape.length === 1 ? ones : randomWeights(bytes(shape)));
}

/** bf16 numbers of either sign between 2^-6 and 2^-5. */
function randomWeights(bytes) {
  const words = new Uint16Array(bytes / 2);
  for (let i = 0, state = bytes; i < words.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    words[i] = ((state >>> 16) & 0x8000) | 0x3c80 | ((state >>> 20) & 0x7f);
  }
  return Buffer.from(words.buffer);
}

/** The model's files as the server takes them: the weights are read as they are asked for. */
function served(folder) {
  const weights = join(folder, "model.safetensors");
  const input = openSync(weights, "r");
  const read = (from, to) => {
    const bytes = Buffer.alloc(to - from);
    readSync(input, bytes, 0, bytes.length, from);
    return bytes;
  };
  const small = ["config.json", "tokenizer.json", "tokenizer_config.json"];
  const texts = small.map((name) => [name, readFileSync(join(folder, name))]);
  return { ...Object.fromEntries(texts), "model.safetensors": { size: statSync(weights).size, read } };
}

test("models from the Hub, from a folder and from the browser's files; a step of training", { timeout: TIMEOUT }, async (t) => {
  const folder = join(root, "random-100m");
  const hub = await startHub({
    [REPO]: served(folder),
    [SMALL_REPO]: served(join(www, "public", "demo")),
    [GGUF.repo]: { [GGUF.file]: readFileSync(join(here, "../host/fixtures/gguf", GGUF.file)) },
  });
  const options = { origins: hub.origins, expected: /Failed to load resource|net::ERR/, profile: join(root, "profile") };
  const opened = await openPage(server.url, options);
  const { page } = opened;
  page.setDefaultTimeout(TIMEOUT);
  const model = panel(page, "Model");
  const ask = async (name) => {
    await page.getByLabel("Model name").fill(name);
    await page.getByRole("button", { name: "Load from the Hub" }).click();
  };
  const loaded = async (name, facts = /Layers6Hidden size1,024/) => {
    await model.locator(".model-name, .notice.error").filter({ hasText: new RegExp(`^${name}$|Error`) }).waitFor();
    assert.equal(await model.locator(".model-name").textContent(), name, await model.textContent());
    assert.match(await model.locator(".facts").textContent(), facts);
    const bytes = await page.workers()[0].evaluate(() => self.wasmMemory.buffer.byteLength);
    t.diagnostic(`${name}: ${(bytes / 1e6).toFixed(0)} MB of WebAssembly memory`);
    assert.ok(bytes > 0 && bytes < MOST_WASM_BYTES, `${bytes} bytes of WebAssembly memory`);
  };
  try {
    await page.getByText("Ready.").waitFor();
    await page.getByText("Use another model").click();
    await page.getByText("Another Hub").click();
    await page.getByLabel("Hub address").fill(hub.address);

    const quota = await page.context().newCDPSession(page);
    const { origin } = new URL(server.url);
    await quota.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: 2 ** 20 });
    await ask(SMALL_REPO);
    await loaded(SMALL_REPO, /Layers4Hidden size192/);
    await model.getByText(/the model is not kept, and is read from the Hub as it is needed/).waitFor();
    assert.equal(await model.locator(".kept-models").count(), 0);
    await quota.send("Storage.overrideQuotaForOrigin", { origin });

    await ask(`${GGUF.repo}/${GGUF.file}`);
    await loaded(GGUF.repo, /Layers/);
    assert.match(await model.locator(".kept-models").textContent(), new RegExp(GGUF.file));

    await ask(REPO);
    await loaded(REPO);
    await page.getByLabel("or their folder").setInputFiles(folder);
    await loaded("random-100m");

    await hub.close();
    await page.reload();
    await page.getByText("Ready.").waitFor();
    await page.getByText("Use another model").click();
    await page.getByRole("button", { name: `Load ${REPO}`, exact: true }).click();
    await loaded(REPO);

    await page.getByRole("radio", { name: /Your own file/ }).check();
    await page.getByLabel("Training file").setInputFiles(file("one.jsonl", '{"prompt":"A story: ","completion":"the end."}\n'));
    await setNumber(page, "Steps", 1);
    await setNumber(page, "Rank", 4);
    await setNumber(page, "Batch size", 1);
    await page.getByText("Advanced").click();
    await setNumber(page, "Maximum length", 16);
    await setNumber(page, "Warm-up steps", 0);
    await page.getByText("Sampling").click();
    await setNumber(page, "Maximum tokens", 1);
    await panel(page, "Data").getByText(/cut to 16 tokens/).first().waitFor();
    const began = performance.now();
    await page.getByRole("button", { name: "Train", exact: true }).click();
    await panel(page, "Train").getByText("Done.", { exact: true }).waitFor();
    t.diagnostic(`one step: ${((performance.now() - began) / 1000).toFixed(1)} s`);
    await page.getByText("Loss as a table").click();
    const loss = Number(await panel(page, "Train").locator("tbody tr td:nth-child(2)").first().textContent());
    assert.ok(loss > 0 && loss < 100, `the loss is ${loss}`);
    await loaded(REPO);
  } catch (error) {
    const seen = await page.locator("main").textContent().catch(() => "");
    await opened.close().catch(() => {});
    throw new Error(`${error.message}\non the page: ${seen}\n${opened.problems.join("\n")}`, { cause: error });
  } finally {
    await hub.close().catch(() => {});
  }
  await opened.close();
});
