// The whole path on the real engine: load, train, loss falls, compare, download, load the adapter again.
// SCREENSHOT=path saves a picture of the page after training.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { file, here, panel, setNumber, unnamed, unzipSync } from "./harness.mjs";
import { answersAtOnce } from "./latency.mjs";
import { done, downloadAdapter, native, realPage, same, saved, smallRun, trainButton } from "./real-page.mjs";

const STEPS = 20;
/** The longest that the page may not answer: shorter than what people take for a frozen page. */
const LONGEST_PAUSE_MS = 500;

const { onPage } = realPage();

/** Name to shape, from a safetensors file's header. */
function shapes(bytes) {
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
  delete header.__metadata__;
  const end = Math.max(...Object.values(header).map(({ data_offsets }) => data_offsets[1]));
  assert.equal(bytes.length, 8 + length + end);
  return Object.fromEntries(Object.entries(header).map(([name, { shape }]) => [name, shape]));
}

onPage(
  "trains the built-in model: the loss falls, the outputs differ, the adapter is PEFT's",
  async (page, _, t) => {
    const config = await page.evaluate(async () => await (await fetch("demo/config.json")).json());
    const facts = await panel(page, "Model").locator(".facts").textContent();
    assert.match(facts, new RegExp(`Layers${config.num_hidden_layers}Hidden size${config.hidden_size}`));
    await panel(page, "Data").locator(".example mark").first().waitFor();
    await smallRun(page, { steps: STEPS, tokens: 8 });

    // Measured on the page's own thread from here to the end of the run.
    await page.evaluate(() => {
      window.longestPause = 0;
      let last = performance.now();
      setInterval(() => {
        const now = performance.now();
        window.longestPause = Math.max(window.longestPause, now - last);
        last = now;
      }, 20);
    });
    // And here, where nothing but a busy machine can be at fault.
    let ownPause = 0;
    let answered = performance.now();
    const timer = setInterval(() => {
      const now = performance.now();
      ownPause = Math.max(ownPause, now - answered);
      answered = now;
    }, 20).unref();
    await trainButton(page).click();
    await page.getByText(/Training on/).waitFor();
    await answersAtOnce(page, t);
    clearInterval(timer);
    const longest = await page.evaluate(() => window.longestPause);
    const paused = `the page did not answer for ${longest.toFixed(0)} ms, and this test for ${ownPause.toFixed(0)} ms`;
    assert.ok(longest < LONGEST_PAUSE_MS + ownPause, paused);

    await page.getByText("Loss as a table").click();
    await panel(page, "Train").locator("tbody tr").nth(STEPS - 1).waitFor();
    const cells = await panel(page, "Train").locator("tbody tr td:nth-child(2)").allTextContents();
    const losses = cells.map(Number);
    assert.equal(losses.length, STEPS);
    // The same seed and data follow the same curve in the browser and natively; the table shows four decimals.
    const log = await native(page);
    for (const [i, { loss }] of log.entries()) same(losses[i], loss, `step ${i + 1}`);
    const mean = (part) => part.reduce((sum, loss) => sum + loss, 0) / part.length;
    const first = mean(losses.slice(0, 5));
    const last = mean(losses.slice(-5));
    assert.ok(last < 0.95 * first, `mean loss of five steps: ${first} at the start, ${last} at the end`);
    const drawn = await panel(page, "Train").locator(".plot-area").first().getAttribute("aria-label");
    assert.match(drawn, new RegExp(`${STEPS} steps`));

    const heldOut = await panel(page, "Train").locator(".held-out strong").allTextContents();
    const [before, afterwards] = heldOut.map(Number);
    assert.ok(afterwards < before, `held-out loss ${before} before, ${afterwards} after`);
    same(afterwards, log.at(-1).eval_loss, "held-out loss");

    const compare = panel(page, "Compare");
    await compare.locator(".comparison").first().waitFor();
    await compare.getByRole("button", { name: "Generate" }).waitFor();
    for (const comparison of await compare.locator(".comparison").all()) {
      assert.equal(await comparison.getByText(/\d+ tokens, /).count(), 2, await comparison.textContent());
    }
    if (process.env.SCREENSHOT) {
      await page.getByText("Loss as a table").click();
      await page.screenshot({ path: process.env.SCREENSHOT });
    }
    assert.deepEqual(await unnamed(page), []);

    const { zip, files } = await downloadAdapter(page);
    assert.deepEqual(Object.keys(files).sort(), ["adapter_config.json", "adapter_model.safetensors"]);
    const written = JSON.parse(new TextDecoder().decode(files["adapter_config.json"]));
    assert.equal(written.peft_type, "LORA");
    assert.equal(written.task_type, "CAUSAL_LM");
    assert.equal(written.r, 4);
    assert.equal(written.lora_alpha, 8);
    const found = shapes(files["adapter_model.safetensors"]);
    assert.equal(Object.keys(found).length, config.num_hidden_layers * 7 * 2);
    const name = (layer, module, side) => `base_model.model.model.layers.${layer}.${module}.lora_${side}.weight`;
    const { hidden_size, intermediate_size } = config;
    assert.deepEqual(found[name(0, "mlp.down_proj", "A")], [4, intermediate_size]);
    assert.deepEqual(found[name(0, "mlp.down_proj", "B")], [hidden_size, 4]);
    assert.deepEqual(found[name(config.num_hidden_layers - 1, "self_attn.q_proj", "A")], [4, hidden_size]);

    // The adapter loads again, on a page that knows nothing of it.
    await page.reload();
    await page.getByText("Ready.").waitFor();
    await page.getByText("Start from an existing adapter").click();
    await page.getByLabel("Adapter files").setInputFiles(file("adapter.zip", zip));
    await page.getByText(/Training goes on from adapter.zip/).waitFor();
    await page.getByText("Sampling").click();
    await setNumber(page, "Maximum tokens", 4);
    await page.getByRole("button", { name: "Generate" }).click();
    await page.locator(".side.tuned").getByText(/\d+ tokens, /).waitFor();
  },
  { viewport: { width: 1360, height: 1180 } },
);

onPage("the merged model is a model of its own that writes what the adapter made of the base", async (page) => {
  await smallRun(page, { steps: 6 });
  await setNumber(page, "Learning rate", 0.02);
  await setNumber(page, "Temperature", 0);
  await trainButton(page).click();
  await done(page);
  const compare = panel(page, "Compare");
  /** What the base and the adapter, if there is one, write to the prompt. */
  const write = async (sides) => {
    const count = await compare.locator(".comparison").count();
    await compare.getByRole("button", { name: "Generate" }).click();
    await compare.locator(".comparison").nth(count).waitFor();
    const newest = compare.locator(".comparison").first();
    await newest.getByText(/\d+ tokens, /).nth(sides - 1).waitFor();
    await compare.getByRole("button", { name: "Generate" }).waitFor();
    return await newest.locator(".written").allTextContents();
  };
  const [base, tuned] = await write(2);
  assert.notEqual(tuned, base);

  for (const kind of ["GGUF", "mlx"]) {
    await page.getByRole("button", { name: `Download ${kind} adapter` }).click();
    await page.getByRole("region", { name: `${kind} adapter` }).getByText(/checked: (same logits as|logits within)/).waitFor();
  }
  const written = await saved(page, page.getByRole("button", { name: "Write merged model" }));
  await page.getByRole("region", { name: "Merged model" }).getByText(/Loaded again, its logits are within .* The rest is rounding to bfloat16/).waitFor();
  const files = unzipSync(written);
  await page.getByText("Use another model").click();
  const folder = Object.entries(files).map(([path, bytes]) => file(path.split("/").pop(), bytes));
  await page.getByLabel("Model files").setInputFiles(folder);
  await panel(page, "Model").getByText("Your model").waitFor();
  assert.deepEqual(await write(1), [tuned]);
});

onPage("plans the memory of a run, refuses one that does not fit and makes it fit", async (page) => {
  await smallRun(page, { steps: 2 });
  await setNumber(page, "Batch size", 16);
  const memory = page.getByRole("region", { name: "GPU memory (estimate)" });
  const status = memory.getByRole("status");
  await page.waitForTimeout(1000);
  await status.getByText(/: fits/).waitFor();
  const planned = Number((await status.textContent()).match(/^([\d.]+) MiB of/)[1]);
  assert.equal(await memory.locator(".memory-parts dd").count(), 6);
  await memory.getByText(/as browsers do not tell how much there is: the default for/).waitFor();

  await setNumber(page, "Memory budget (GiB)", (planned - 1) / 1024);
  await memory.getByRole("alert").getByText(/The run needs .* With one of these changes it fits/).waitFor();
  await memory.getByText(/Batch size 8, Accumulation 2: .* \(fits\)/).waitFor();
  assert.ok(await trainButton(page).isDisabled());
  await page.getByRole("button", { name: "Make it fit" }).click();
  await memory.getByRole("alert").waitFor({ state: "detached" });
  await status.getByText(/: fits/).waitFor();
  await page.getByText("Ready.").waitFor();
  await trainButton(page).click();
  await done(page);

  // Less than the weights of any model.
  await setNumber(page, "Memory budget (GiB)", 0.001);
  await memory.getByRole("alert").getByText(/None of these changes is enough/).waitFor();
  const name = await panel(page, "Model").locator(".model-name").textContent();
  await page.getByText("Use another model").click();
  const files = await page.evaluate(async () => {
    const names = ["config.json", "tokenizer.json", "model.safetensors"];
    const read = async (name) => [...new Uint8Array(await (await fetch(`demo/${name}`)).arrayBuffer())];
    return await Promise.all(names.map(async (name) => [name, await read(name)]));
  });
  await page.getByLabel("Model files").setInputFiles(files.map(([name, bytes]) => file(name, Uint8Array.from(bytes))));
  const refused = panel(page, "Model").getByRole("alert");
  await refused.getByText(/the model needs .* of GPU memory, but the budget is 1.0 MiB \(given\).*Memory budget, under Train/s).waitFor();
  assert.equal(await panel(page, "Model").locator(".model-name").textContent(), name);
});

onPage("stops a run, and the adapter so far can be had", async (page) => {
  await smallRun(page, { steps: 100_000 });
  await trainButton(page).click();
  await page.getByText(/Training on/).waitFor();
  await page.getByRole("button", { name: "Stop", exact: true }).click();
  await page.getByText(/Stopped at step \d+/).waitFor();
  const { files } = await downloadAdapter(page);
  assert.ok(Object.keys(shapes(files["adapter_model.safetensors"])).length > 0);
});

onPage("names the lines of a file that it cannot use", async (page) => {
  await page.getByRole("radio", { name: /Your own file/ }).check();
  const lines = ['{"text":"A first line."}', "{broken", '{"text":"A third line."}', '{"text":7}'];
  await page.getByLabel("Training file").setInputFiles(file("mixed.jsonl", lines.join("\n")));
  const data = panel(page, "Data");
  await data.getByText("2 lines skipped").waitFor();
  const listed = await data.locator(".skipped li strong").allTextContents();
  assert.deepEqual(listed, ["Line 2:", "Line 4:"]);
  await page.getByLabel("Training file").setInputFiles(file("bad.jsonl", "{broken\n"));
  await data.getByRole("alert").getByText(/line 1/i).waitFor();
  assert.ok(await trainButton(page).isDisabled());
});

onPage("survives a Parquet file on which its reader panics", async (page) => {
  const damaged = await readFile(join(here, "../host/fixtures/messages.parquet"));
  damaged[1122] ^= 1;
  await page.getByRole("radio", { name: /Your own file/ }).check();
  await page.getByLabel("Training file").setInputFiles(file("chats.parquet", damaged));
  await panel(page, "Data").getByRole("alert").getByText("chats.parquet: damaged Parquet").waitFor();
  damaged[1122] ^= 1;
  await page.getByLabel("Training file").setInputFiles(file("chats.parquet", damaged));
  await panel(page, "Data").getByText("Parquet, messages").waitFor();
  await page.getByText("Ready.").waitFor();
}, { expected: /panicked at/ });

onPage("refuses data in which nothing is trained on", async (page) => {
  await page.getByRole("radio", { name: /Your own file/ }).check();
  const chat = JSON.stringify({ messages: [{ role: "user", content: "Is anyone there?" }] });
  await page.getByLabel("Training file").setInputFiles(file("unanswered.jsonl", chat));
  const alert = panel(page, "Data").getByRole("alert");
  await alert.getByText(/none of 1 record has a token to train on: 1 has no assistant turn/).waitFor();
  assert.ok(await trainButton(page).isDisabled());
});

onPage("reads columns by the names that the user gives", async (page) => {
  await page.getByRole("radio", { name: /Your own file/ }).check();
  const table = "ask,reply,id\nWhy did the fox run?,It was late.,1\nWho came?,The bear.,2\n";
  await page.getByLabel("Training file").setInputFiles(file("asked.csv", table));
  const data = panel(page, "Data");
  await data.getByRole("alert").getByText("no record that can be trained on").waitFor();
  await page.getByLabel("Read the records as").selectOption("Prompt and completion");
  await page.getByLabel("Prompt is in").selectOption("ask");
  await page.getByLabel("Completion is in").selectOption("reply");
  await data.locator(".example mark").getByText("It was late.").waitFor();
  assert.match(await data.locator(".counts").textContent(), /FormatCSV, prompt\/completionRecords2Examples2/);
});

onPage("shows markup in data and generated text as text", async (page) => {
  await page.getByRole("radio", { name: /Your own file/ }).check();
  const markup = "<img src=x onerror='window.hacked=true'>";
  const record = JSON.stringify({ prompt: markup, completion: "<script>window.hacked=true</script>" });
  await page.getByLabel("Training file").setInputFiles(file("<b>x</b>.jsonl", record));
  await panel(page, "Data").locator(".example").getByText(markup).waitFor();
  await page.getByLabel("Prompt", { exact: true }).fill(markup);
  await page.getByText("Sampling").click();
  await setNumber(page, "Maximum tokens", 4);
  await page.getByRole("button", { name: "Generate" }).click();
  await page.locator(".side").getByText(/\d+ tokens, /).waitFor();
  assert.equal(await page.locator("#app img, #app script, #app b").count(), 0);
  assert.equal(await page.evaluate(() => window.hacked), undefined);
});

onPage("says what is wrong with a model's files", async (page) => {
  await page.getByText("Use another model").click();
  const model = page.getByLabel("Model files");
  await model.setInputFiles([file("config.json", "{}")]);
  await page.getByText("Missing: tokenizer.json, model.safetensors").waitFor();
  await model.setInputFiles([
    file("config.json", "{}"),
    file("tokenizer.json", "{}"),
    file("model.safetensors", "not a model"),
  ]);
  const alert = panel(page, "Model").getByRole("alert");
  await alert.waitFor();
  assert.match(await alert.textContent(), /“Story model, built in” is still loaded.*(config\.json|tokenizer\.json|model\.safetensors)/);
  await page.getByText("Ready.").waitFor();
});
