// Downloading adapters and merged models, each checked as written, with the fake engine.
import assert from "node:assert/strict";
import { download, example, fakePage, trainButton, useFile } from "./fake-page.mjs";
import { file, panel, setNumber, unnamed, unzipSync } from "./harness.mjs";

const { onPage } = fakePage();

async function train(page, steps = 3) {
  await setNumber(page, "Steps", steps);
  await trainButton(page).click();
  await panel(page, "Train").getByText("Done.", { exact: true }).waitFor();
  await panel(page, "Compare").getByRole("button", { name: /^(Generate|Send)$/ }).waitFor();
}

const runFile = (page) => panel(page, "Download").getByRole("button", { name: "Download run.json" });

async function shortTexts(page, tokens = 6) {
  await page.getByText("Sampling").click();
  await setNumber(page, "Maximum tokens", tokens);
}

onPage("says that the written file has the same logits only after checking it", async (page) => {
  await shortTexts(page);
  await train(page, 3);
  const entry = page.getByRole("region", { name: "PEFT adapter" });
  assert.equal(await entry.getByText(/checked/).count(), 0);
  const { name, bytes } = await download(page, /^Download PEFT adapter/);
  assert.equal(name, "story-model-built-in-plain-r16-step-3.zip");
  assert.deepEqual(Object.keys(unzipSync(bytes)).sort(), ["adapter_config.json", "adapter_model.safetensors"]);
  await entry.getByText(`✓ ${name}, checked: same logits as the adapter in memory.`).waitFor();
  const code = await entry.locator("pre").textContent();
  assert.match(code, /PeftModel\.from_pretrained\(base, "story-model-built-in-plain-r16-step-3"\)/);
  // Not a name of the Hub's: nothing that would look right and not work.
  assert.match(code, /AutoModelForCausalLM\.from_pretrained\("path\/to\/base-model"\)/);
  await entry.locator("details > summary").first().click();
  await entry.getByText(/The base is Story model, built in: write the path/).waitFor();

  const log = await download(page, /\.jsonl$/);
  assert.equal(log.name, "story-model-built-in-plain-log.jsonl");
  const lines = log.bytes.toString().trim().split("\n").map((line) => JSON.parse(line));
  assert.deepEqual(lines.map(({ step }) => step), [1, 2, 3]);
  const csv = (await download(page, /log\.csv$/)).bytes.toString().trim().split("\r\n");
  assert.equal(csv.length, 4);
  assert.match(csv[0], /^step,loss,eval_loss,lr,/);
  assert.equal(Number(csv[1].split(",")[1]), lines[0].loss);
  const run = await download(page, runFile(page));
  assert.equal(JSON.parse(run.bytes.toString()).lora.r, 16);
  assert.deepEqual(await unnamed(page), []);
});

onPage("writes the adapter for llama.cpp, Ollama and mlx-lm, each checked as written", async (page) => {
  await shortTexts(page);
  await train(page, 3);
  const stem = "story-model-built-in-plain-r16-step-3";
  const gguf = await download(page, /^Download GGUF adapter/);
  assert.equal(gguf.name, `${stem}.gguf`);
  assert.equal(JSON.parse(gguf.bytes.toString()).gguf, "f32");
  const entry = page.getByRole("region", { name: "GGUF adapter" });
  await entry.getByText(`✓ ${gguf.name}, checked: same logits as the adapter in memory.`).waitFor();
  const code = await entry.locator("pre").allTextContents();
  assert.equal(code[0], `llama-cli -m base.gguf --lora ${stem}.gguf -p "…"`);
  assert.equal(code[1], `FROM ./base.gguf\nADAPTER ./${stem}.gguf`);
  assert.match(code[2], /^ollama create /);

  const mlx = await download(page, /^Download mlx adapter/);
  assert.equal(mlx.name, `${stem}.mlx.zip`);
  assert.deepEqual(Object.keys(unzipSync(mlx.bytes)).sort(), ["adapter_config.json", "adapters.safetensors"]);
  const other = page.getByRole("region", { name: "mlx adapter" });
  await other.getByText(`✓ ${mlx.name}, checked: same logits as the adapter in memory.`).waitFor();
  assert.match(await other.locator("pre").textContent(), /--model path\/to\/base-model --adapter-path \S+step-3\.mlx /);
  assert.deepEqual(await unnamed(page), []);

  // Of a model that a format has no name for the reason is shown, and no button.
  await useModel(page, { refused_formats: { gguf: "no architecture for it" } });
  await train(page, 2);
  await entry.getByText("Not for this model: no architecture for it.").waitFor();
  assert.equal(await entry.getByRole("button").count(), 0);
});

const mergeButton = (page) => page.getByRole("button", { name: "Write merged model" });
const merged = (page) => page.getByRole("region", { name: "Merged model" });

async function useModel(page, config) {
  if (!(await page.getByLabel("Model files").isVisible())) await page.getByText("Use another model").click();
  await page.getByLabel("Model files").setInputFiles([
    file("config.json", JSON.stringify({ num_hidden_layers: 4, max_position_embeddings: 256, target_modules: ["q_proj"], ...config })),
    file("tokenizer.json", "{}"),
    file("model.safetensors", "weights"),
  ]);
}

onPage("writes the merged model as a zip where a browser has no folders", async (page) => {
  await shortTexts(page);
  await train(page, 3);
  const { name, bytes } = await download(page, "Write merged model");
  assert.equal(name, "story-model-built-in-plain-r16-step-3-merged.zip");
  const files = unzipSync(bytes);
  const folder = name.replace(".zip", "");
  const names = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
  assert.deepEqual(Object.keys(files).sort(), names.map((file) => `${folder}/${file}`));
  // The fake's weights end with the adapter's, and that with its step.
  assert.deepEqual([...files[`${folder}/model.safetensors`]], [...Buffer.from("base"), 1, 2, 3, 3]);
  await merged(page).getByText(`✓ ${name}, checked: read back, it is byte for byte what was to be written. Its logits were not compared: there is no room for a second model (fake).`).waitFor();
  assert.match(await merged(page).locator("pre").first().textContent(), new RegExp(`from_pretrained\\("${folder}"\\)`));
  // A second one takes the place of the first.
  await download(page, "Write merged model");
  const kept = await page.evaluate(async () => {
    const all = await (await navigator.storage.getDirectory()).getDirectoryHandle("merged");
    const folders = await Array.fromAsync(all.values());
    return (await Promise.all(folders.map((folder) => Array.fromAsync(folder.keys())))).flat();
  });
  assert.deepEqual(kept, [name]);
  assert.deepEqual(await unnamed(page), []);
});

onPage(
  "a worker without locks does everything but merging into a zip, and says so",
  async (page) => {
    await shortTexts(page);
    await train(page, 2);
    await mergeButton(page).click();
    await merged(page).getByRole("alert").getByText("no locks here").waitFor();
    await train(page, 3);
  },
  {
    workerScript: `LockManager.prototype.request = async () => {
      throw new DOMException("no locks here", "SecurityError");
    }`,
  },
);

onPage("the merged model is loaded from the zip, and one with other logits is not given out", async (page) => {
  const written = [];
  page.on("download", (download) => written.push(download));
  await shortTexts(page);
  await useModel(page, { merging: "checked" });
  await train(page, 3);
  await mergeButton(page).click();
  await merged(page).getByText("Loading it, to compare logits").waitFor();
  // The fake looks at the weights that it is given: a wrong place in the zip would show.
  await merged(page).getByText("Loaded again, its logits are within 0.012 of those of the base with the adapter, which itself changes them by up to 3.0. The rest is rounding to bfloat16.").waitFor();
  assert.equal(written.length, 1);

  await useModel(page, { merging: "other logits" });
  await train(page, 2);
  await mergeButton(page).click();
  await merged(page).getByRole("alert").getByText("gives other logits than the base with the adapter: by up to 7").waitFor();
  assert.equal(written.length, 1);
});

onPage(
  "writes the merged model into a folder, compares what is there, and takes it back when cancelled",
  async (page) => {
    await shortTexts(page);
    const there = () =>
      page.evaluate(async () => {
        const chosen = await window.showDirectoryPicker();
        const found = {};
        for await (const [name, folder] of chosen.entries()) found[name] = await Array.fromAsync(folder.keys());
        return found;
      });
    await train(page, 3);
    await mergeButton(page).click();
    await merged(page).getByText(/✓ chosen\/.*-merged, checked/).waitFor();
    const name = "story-model-built-in-plain-r16-step-3-merged";
    const files = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
    const sorted = ({ [name]: names, ...others }) => [names.sort(), others];
    assert.deepEqual(sorted(await there()), [files, {}]);
    // What is there already stays.
    await mergeButton(page).click();
    await merged(page).getByRole("alert").getByText("with files in it already").waitFor();
    assert.deepEqual(sorted(await there()), [files, {}]);

    await useModel(page, { merging: "endless" });
    await train(page, 2);
    await mergeButton(page).click();
    await merged(page).getByText(/KiB of/).waitFor();
    assert.deepEqual(await unnamed(page), []);
    await merged(page).getByRole("button", { name: "Cancel" }).click();
    await merged(page).getByRole("button", { name: "Cancel" }).waitFor({ state: "detached" });
    assert.equal(await merged(page).getByRole("alert").count(), 0);
    assert.deepEqual(sorted(await there()), [files, {}]);

    await useModel(page, { merging: "bent" });
    await train(page, 2);
    await mergeButton(page).click();
    await merged(page).getByRole("alert").getByText("model.safetensors is not on the disk as it was written").waitFor();
    assert.deepEqual(sorted(await there()), [files, {}]);

    await useModel(page, { merging: "checked" });
    await train(page, 4);
    await mergeButton(page).click();
    await merged(page).getByText(/Loaded again, its logits are within 0.012/).waitFor();
    const [, others] = sorted(await there());
    assert.equal(Object.keys(others).length, 1);
    await useModel(page, { merging: "other logits" });
    await train(page, 5);
    await mergeButton(page).click();
    await merged(page).getByRole("alert").getByText("gives other logits").waitFor();
    assert.deepEqual(Object.keys(sorted(await there())[1]), Object.keys(others));

    await useModel(page, { refused_formats: { merged: "it is of another kind" } });
    await train(page, 2);
    await merged(page).getByText("Not for this model: it is of another kind.").waitFor();
    assert.equal(await mergeButton(page).count(), 0);
  },
  {
    // A folder of the browser's own in place of one that a person chooses.
    initScript: () => {
      window.showDirectoryPicker = async () => await (await navigator.storage.getDirectory()).getDirectoryHandle("chosen", { create: true });
    },
  },
);

onPage("an adapter is taken only while the model is loaded that it was trained on", async (page) => {
  const entries = panel(page, "Download").getByRole("button", { name: /adapter \(|merged/ });
  const none = panel(page, "Download").getByText("Here you download the adapter once there is one.");
  const loadBuiltIn = page.getByRole("button", { name: "Load the built-in model" });
  await shortTexts(page);
  await train(page, 3);
  assert.equal(await entries.count(), 4);
  await useModel(page, {});
  await none.waitFor();
  assert.equal(await entries.count(), 0);
  // From the list of runs it comes without a check.
  await page.getByRole("button", { name: "Plain answers, rank 16", exact: true }).click();
  const { name } = await download(page, "Download the last of step 3");
  await panel(page, "Runs").getByText(`${name} is written but not checked, because the adapter does not load on this model: it was trained on Story model, built in`).waitFor();
  // Its own model brings it back.
  await page.getByLabel("Model files").setInputFiles([file("config.json", `{"breaks": true}`), file("tokenizer.json", "{}"), file("model.safetensors", "weights")]);
  await loadBuiltIn.click();
  await entries.nth(3).waitFor();

  // Other files of the same name and shape.
  await useModel(page, {});
  await none.waitFor();
  await train(page, 2);
  assert.equal(await entries.count(), 4);
  await useModel(page, {});
  await none.waitFor();
});

onPage("a written file with other logits is not given out", async (page) => {
  await useFile(page, "bent.jsonl", example("a"));
  await page.getByLabel("Prompt", { exact: true }).fill("What?");
  await shortTexts(page);
  await train(page, 3);
  let downloads = 0;
  page.on("download", () => downloads++);
  await page.getByRole("button", { name: /^Download PEFT adapter/ }).click();
  await panel(page, "Download").getByRole("alert").getByText("gives other logits than the adapter (by up to 1)").waitFor();
  await page.waitForTimeout(300);
  assert.equal(downloads, 0);
  assert.equal(await panel(page, "Download").getByText(/checked/).count(), 0);
});

onPage("while a run goes on the copy is what the file is checked against", async (page) => {
  await page.getByText("Advanced").click();
  // Far enough apart for a copy to stay the newest while it is checked.
  await setNumber(page, "Evaluate every", 100);
  await setNumber(page, "Steps", 5000);
  await trainButton(page).click();
  await panel(page, "Download").getByText(/As of step 100.*a newer one follows/).waitFor();
  const { name } = await download(page, /^Download PEFT adapter/);
  assert.equal(name, "story-model-built-in-plain-r16-step-100.zip");
  await panel(page, "Download").getByText(`${name}, checked: same logits as the run’s copy`).waitFor();
});

/** A save dialog that answers with a file in memory; what is read back can be another. */
const picker = () => {
  window.picked = [];
  window.showSaveFilePicker = async ({ suggestedName, types }) => {
    if (window.refuse) throw new DOMException("The user aborted a request.", "AbortError");
    const file = { name: suggestedName, types, removed: false, blob: new Blob() };
    window.picked.push(file);
    return {
      name: "chosen.zip",
      createWritable: async () => ({
        write: async (blob) => {
          if (window.full) throw new DOMException("The disk is full.", "QuotaExceededError");
          file.blob = blob;
        },
        close: async () => {},
        abort: async () => {},
      }),
      getFile: async () => (window.spoil ? file.blob.slice(0, 40) : file.blob),
      remove: async () => void (file.removed = true),
    };
  };
};

onPage(
  "asks where to save, and checks what then is on the disk",
  async (page) => {
    await shortTexts(page);
    await train(page, 3);
    const entry = page.getByRole("region", { name: "PEFT adapter" });
    const button = page.getByRole("button", { name: /^Download PEFT adapter/ });
    await button.click();
    await entry.getByText("✓ chosen.zip, checked: same logits").waitFor();
    const picked = await page.evaluate(() => window.picked.map(({ name, types, blob }) => ({ name, types, size: blob.size })));
    assert.equal(picked[0].name, "story-model-built-in-plain-r16-step-3.zip");
    assert.deepEqual(picked[0].types[0].accept, { "application/zip": [".zip"] });
    assert.ok(picked[0].size > 100);

    await page.evaluate(() => (window.spoil = true));
    await button.click();
    await entry.getByRole("alert").getByText("chosen.zip is not a zip file that can be read").waitFor();
    assert.equal(await page.evaluate(() => window.picked[1].removed), true);
    // Nor is an empty file left where none could be written.
    await page.evaluate(() => (window.full = true));
    await button.click();
    await entry.getByRole("alert").getByText("The disk is full.").waitFor();
    await runFile(page).click();
    await page.getByRole("region", { name: "Run file" }).getByText("The disk is full.").waitFor();
    assert.deepEqual(await page.evaluate(() => window.picked.slice(2).map(({ removed }) => removed)), [true, true]);
    // Who cancels the dialog hears nothing more.
    await page.evaluate(() => (window.refuse = true));
    await runFile(page).click();
    await page.waitForTimeout(100);
    assert.equal(await page.evaluate(() => window.picked.length), 4);
    assert.equal(await panel(page, "Download").getByRole("region", { name: "Run file" }).getByText(/written/).count(), 0);
  },
  { initScript: picker },
);

const lastByte = (bytes) => unzipSync(bytes)["adapter_model.safetensors"].at(-1);

onPage("after a reload the adapter of any kept run can be taken, checked", async (page) => {
  await shortTexts(page);
  await train(page, 3);
  await train(page, 5);
  await page.reload();
  await page.getByText("Ready.").waitFor();
  const choice = panel(page, "Download").getByLabel("Adapter of");
  assert.equal(await choice.inputValue(), "");
  assert.equal(await page.getByRole("region", { name: "PEFT adapter" }).count(), 0);
  await choice.selectOption("Plain answers, rank 16, step 3");
  const first = await download(page, /^Download PEFT adapter/);
  assert.equal(first.name, "story-model-built-in-plain-r16-step-3.zip");
  assert.equal(lastByte(first.bytes), 3);
  await panel(page, "Download").getByText(`✓ ${first.name}, checked: same logits as the run’s copy.`).waitFor();
  await choice.selectOption("Plain answers, rank 16 (2), step 5");
  assert.equal(lastByte((await download(page, /^Download PEFT adapter/)).bytes), 5);
  // A new run is what the page has then.
  await train(page, 2);
  assert.equal(await choice.inputValue(), "");
  assert.equal(lastByte((await download(page, /^Download PEFT adapter/)).bytes), 2);
});

onPage("the run file, the log, the command and the script are those of the chosen adapter's run", async (page) => {
  const panelOf = panel(page, "Download");
  const given = async () => {
    const { lora, train, data } = JSON.parse((await download(page, runFile(page))).bytes);
    const log = await download(page, panelOf.getByRole("button", { name: /^Download .*log\.jsonl$/ }));
    const csv = await download(page, panelOf.getByRole("button", { name: /^Download .*log\.csv$/ }));
    const rows = [log, csv].map(({ bytes }) => bytes.toString().trim().split("\n").length);
    return { r: lora.r, alpha: lora.lora_alpha, steps: train.max_steps, data, rows, name: log.name };
  };
  const texts = async () => await panelOf.locator("details > pre").allTextContents();
  await shortTexts(page);
  await setNumber(page, "Rank", 4);
  await train(page, 3);
  const first = { r: 4, alpha: 8, steps: 3, data: { train: "demo:plain" }, rows: [3, 4], name: "story-model-built-in-plain-log.jsonl" };
  assert.deepEqual(await given(), first);
  await useFile(page, "mine.jsonl", `{"question":"Q: ","answer":"x"}\n`);
  await panel(page, "Data").getByText(/^1 example of/).waitFor();
  await setNumber(page, "Rank", 8);
  await setNumber(page, "Steps", 5);
  // What the page is set to now is for the next run.
  assert.deepEqual(await given(), first);
  await train(page, 5);
  const second = { r: 8, alpha: 16, steps: 5, data: { train: "mine.jsonl" }, rows: [5, 6], name: "story-model-built-in-mine-log.jsonl" };
  assert.deepEqual(await given(), second);
  const choice = panelOf.getByLabel("Adapter of");
  await choice.selectOption({ label: "Plain answers, rank 4, step 3" });
  assert.deepEqual(await given(), first);

  await page.evaluate(() => (location.hash = "#v=1"));
  await page.reload();
  await page.getByText("Ready.").waitFor();
  assert.equal(await runFile(page).count(), 0);
  await choice.selectOption({ label: "mine.jsonl, rank 8, step 5" });
  await panelOf.getByText("As “mine.jsonl, rank 8” was run:").waitFor();
  assert.deepEqual(await given(), second);
  for (const summary of await panelOf.getByText(/^The same run/).all()) await summary.click();
  const [command, , script] = (await texts()).slice(-3);
  assert.match(command, /--data mine\.jsonl [^]*--rank 8 [^]*--max-steps 5 /);
  // A column that the engine knew is named to a program that does not.
  assert.match(script, /load_dataset\("json", data_files="mine\.jsonl"[^]*rename_columns\(\{\s+"question": "prompt",\s+"answer": "completion",\s+\}\)[^]*max_steps=5[^]*r=8/);
});

onPage("what is downloaded from the list of runs is checked too", async (page) => {
  await shortTexts(page);
  await train(page, 3);
  await page.reload();
  await page.getByText("Ready.").waitFor();
  await page.getByRole("button", { name: "Plain answers, rank 16", exact: true }).click();
  const { name, bytes } = await download(page, "Download the last of step 3");
  assert.equal(lastByte(bytes), 3);
  await panel(page, "Runs").getByText(`✓ ${name}, checked: same logits as the run’s copy.`).waitFor();
});

onPage("of the runs' adapters the engine keeps the newest and the chosen one", async (page) => {
  await shortTexts(page);
  for (const steps of [2, 3, 4]) await train(page, steps);
  const choice = page.getByRole("combobox", { name: "Adapter", exact: true });
  const loaded = () => choice.locator("optgroup[label=Loaded] option").allTextContents();
  assert.deepEqual(await loaded(), ["Plain answers, rank 16 (3)"]);
  for (const which of ["Plain answers, rank 16, step 2", "Plain answers, rank 16 (2), step 3"]) {
    await choice.selectOption({ label: which });
    await choice.locator("optgroup[label=Loaded] option", { hasText: which }).waitFor({ state: "attached" });
    await page.waitForFunction(() => document.querySelectorAll("optgroup[label=Loaded] option").length === 2);
    assert.deepEqual(await loaded(), ["Plain answers, rank 16 (3)", which]);
  }
});
