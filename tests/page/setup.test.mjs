// Setting up a run: the steps, the model, the data, the adapter, and the settings in the address and in files.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { example, fakePage, trainButton, useFile } from "./fake-page.mjs";
import { file, panel, setNumber } from "./harness.mjs";

const { onPage } = fakePage();

const step = (page, title) =>
  page
    .getByRole("navigation", { name: "Steps" })
    .getByRole("link", { name: typeof title === "string" ? new RegExp(`^${title} `) : title });
const summary = (page, text) => page.locator("summary").getByText(text, { exact: true });

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
  // Without data there is no plan, and none is needed.
  await page.getByRole("radio", { name: /Your own file/ }).check();
  await page.getByText("Choose the data to train on.").first().waitFor();
  await page.getByText(/^Now 2\.0 GiB: an estimate/).waitFor();
  await page.waitForTimeout(300);
  await items.getByText(/Trains on this device, by the memory plan: 1\.9 GiB/).first().waitFor();
  const text = await items.allTextContents();
  assert.ok(
    text.some((item) =>
      /SmolLM2-135M135M parameters, 257 MiB to download, licence Apache 2\.0✓ Trains on this device, by the memory plan: 1\.9 GiB of GPU memory/.test(
        item,
      ),
    ),
    text[1],
  );
  assert.ok(
    text.some((item) => /Phi-3-mini.*7\.1 GiB.*! Too large for this device: 2\.0 GiB of GPU memory even with batch size 1 and gradient checkpointing, and 2\.0 GiB are counted on/.test(item)),
    text.at(-1),
  );
  assert.ok(text.some((item) => /gpt2.*! These settings cannot train it: not with these modules \(fake\)/.test(item)), text[0]);
  // Another rank has other plans.
  await setNumber(page, "Rank", 256);
  await items.filter({ hasText: "SmolLM2-135M-Instruct" }).getByText(/! Too large for this device: 2\.1 GiB/).waitFor();
  await setNumber(page, "Rank", 16);
  await setNumber(page, "Batch size", 128);
  const smaller = /✓ Trains on this device with batch size 1 and gradient checkpointing: 1\.9 GiB of GPU memory; 2\.0 GiB as the settings are/;
  await items.filter({ hasText: "SmolLM2-135M-Instruct" }).getByText(smaller).waitFor();
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
        const root = {
          isFile: false,
          isDirectory: true,
          name: folder,
          createReader: () => ({ readEntries: (give) => give(batches.shift()) }),
        };
        Object.defineProperty(event.dataTransfer, "items", { value: [{ kind: "file", webkitGetAsEntry: () => root }] });
      }
      element.dispatchEvent(event);
    },
    { files, folder },
  );
}

onPage("a model's folder can be dropped anywhere on its panel", async (page) => {
  const config = await readFile(new URL("fake/public/demo/config.json", import.meta.url), "utf8");
  const files = [
    ["config.json", config],
    ["tokenizer.json", "{}"],
    ["model.safetensors", "weights"],
  ];
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
  await drop(data.getByRole("heading", { name: "Data", exact: true }), [
    ["dropped.jsonl", example("x") + example("y")],
  ]);
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

onPage("what of a drop is not taken is said", async (page) => {
  const data = panel(page, "Data");
  await drop(data, [["first.jsonl", example("a")], ["second.jsonl", example("b")]]);
  await data.getByText("Only first.jsonl was taken, as training data. Choose held-out data below; not taken: second.jsonl.").waitFor();
  await drop(data, [["third.jsonl", example("c")]]);
  await data.getByText("Training data: third.jsonl").waitFor();
  assert.equal(await data.getByText(/was taken/).count(), 0);
  await setNumber(page, "Steps", 100_000);
  await trainButton(page).click();
  await page.getByText(/Training on 4 examples/).waitFor();
  await drop(data, [["fourth.jsonl", example("d")]]);
  await data.getByText("fourth.jsonl was not taken: a run goes on. Drop it again afterwards.").waitFor();
  await data.getByText("Training data: third.jsonl").waitFor();
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
  // Names that the engine knows need no mapping.
  await useFile(page, "known.jsonl", `${JSON.stringify({ question: "Why?", answer: "So." })}\n`);
  await rows.getByText("read as prompt").waitFor();
  assert.deepEqual(await rows.locator("th").allTextContents(), ["questionread as prompt", "answerread as completion"]);
  const messages = [
    { role: "user", content: "Hi" },
    { role: "assistant", content: "Ho" },
  ];
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
  const chosen = async () => await panel(page, "Adapter").locator(".modules label:has(:checked)").allTextContents();
  const preset = (name) => panel(page, "Adapter").getByRole("button", { name, exact: true });
  assert.equal(await preset("all linear").getAttribute("aria-pressed"), "true");
  await preset("attention q, v").click();
  assert.deepEqual(await chosen(), ["q_proj", "v_proj"]);
  await preset("attention").click();
  assert.deepEqual(await chosen(), ["q_proj", "k_proj", "v_proj", "o_proj"]);
  assert.deepEqual(
    await Promise.all(["attention", "all linear"].map((name) => preset(name).getAttribute("aria-pressed"))),
    ["true", "false"],
  );
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
  const boxes = await adapter
    .locator(".low-rank-drawing rect")
    .evaluateAll((rects) => rects.map(({ width, height }) => [width.baseVal.value, height.baseVal.value]));
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
  await page.evaluate(
    () => (location.hash = "#v=1&r=6&max_steps=0&target_modules=q_proj,c_attn&data=none&max_length=9999"),
  );
  const arrived = page.getByRole("region", { name: "Settings from a link or a run file" });
  await arrived.getByText("max_steps 0 was left out").waitFor();
  await arrived.getByText("This model has no c_attn").waitFor();
  await arrived.getByText("this model’s context is 256 tokens").waitFor();
  await arrived.getByText("There is no built-in data set none").waitFor();
  assert.deepEqual(await Promise.all(["Steps", "Rank"].map(value)), ["100", "6"]);
  await arrived.getByRole("button", { name: "Close" }).click();
  assert.equal(await arrived.count(), 0);
  assert.ok(!requests.some((url) => url.includes("#")));
});

onPage("what an address leaves out on a page in use is as on a fresh one", async (page) => {
  const value = (label) => page.getByRole("spinbutton", { name: label, exact: true }).inputValue();
  const names = ["Learning rate", "Steps", "Maximum length", "Temperature"];
  await page.locator("details").evaluateAll((all) => all.forEach((part) => (part.open = true)));
  const first = await Promise.all(names.map(value));
  await setNumber(page, "Learning rate", 0.5);
  await setNumber(page, "Steps", 7);
  await setNumber(page, "Maximum length", 64);
  await setNumber(page, "Temperature", 0.2);
  await page.getByRole("button", { name: "attention q, v" }).click();
  await page.getByRole("radio", { name: /Markup/ }).check();
  await page.waitForFunction(() => location.hash.includes("temperature=0.2"));
  // Of another version nothing is read.
  await page.evaluate(() => (location.hash = "#v=2&r=6"));
  await page.getByText("this page reads version 1").waitFor();
  assert.equal(await value("Steps"), "7");
  await page.evaluate(() => (location.hash = "#v=1&r=6"));
  await page.getByRole("radio", { name: /Plain/, checked: true }).waitFor();
  assert.deepEqual(await Promise.all(names.map(value)), first);
  assert.deepEqual(await Promise.all(["Rank", "Alpha"].map(value)), ["6", "12"]);
  assert.equal(await page.getByRole("region", { name: "Settings from a link or a run file" }).count(), 0);
  await page.waitForTimeout(500);
  assert.match(page.url(), /#v=1&r=6$/);
});

onPage("an opened address also sets Compare, the sweep and the memory budget, and holds no prompt", async (page) => {
  await page.evaluate(() => (location.hash = "#v=1&temperature=0&adapter_scale=0.5&sweep_ranks=2,64&memory_gib=1.5&top_k=-1"));
  await page.getByText("top_k -1 was left out: it must be a whole number").waitFor();
  await page.reload();
  await page.getByText("Ready.").waitFor();
  const value = (label) => page.getByRole("spinbutton", { name: label, exact: true }).inputValue();
  await page.getByText("Sampling").click();
  assert.deepEqual([await value("Temperature"), await value("Memory budget (GiB)")], ["0", "1.5"]);
  await page.getByText("50 %", { exact: true }).waitFor();
  const ticked = panel(page, "Sweep").getByRole("group", { name: "Ranks" }).getByRole("checkbox", { checked: true });
  assert.equal(await ticked.count(), 2);
  await page.getByLabel("Prompt", { exact: true }).fill("a secret");
  await setNumber(page, "Maximum tokens", 9);
  await page.waitForFunction(() => location.hash.includes("max_new_tokens=9"));
  assert.ok(!page.url().includes("secret"));
});

onPage("every control says what it is for, and another Hub is offered only where it can be asked", async (page) => {
  await page.locator("details").evaluateAll((all) => all.forEach((part) => (part.open = true)));
  await panel(page, "Sweep").getByLabel("Scaling").selectOption("one alpha for all");
  const bare = await page
    .locator("input:not([type=checkbox], [type=radio]), select, textarea")
    .evaluateAll((all) =>
      all
        .filter((control) => !document.getElementById(control.getAttribute("aria-describedby"))?.textContent.trim())
        .map((control) => control.labels[0]?.textContent ?? control.outerHTML.slice(0, 120)),
    );
  assert.deepEqual(bare, []);
  await page.getByRole("group", { name: "Target modules" }).getByText(/Attention \(q, k, v, o\).*enough for a tone.*The rest \(gate, up, down\).*few examples/).waitFor();
  assert.equal(await page.getByText("Another Hub").count(), 0);
});

onPage(
  "a link to a model on the Hub asks before it loads",
  async (page, { requests }) => {
    await page.getByText("These settings are for owner/named@dev from the Hub.").waitFor();
    await page.getByRole("button", { name: "Load owner/named@dev" }).waitFor();
    assert.ok(!requests.some((url) => url.includes("huggingface")));
    assert.equal(await page.getByLabel("Rank", { exact: true }).inputValue(), "4");
    // The address still names the model that was asked for.
    await page.waitForTimeout(500);
    assert.match(page.url(), /model=owner\/named@dev&data=markup&r=4/);
    await page.getByRole("button", { name: "Close" }).click();
    await page.waitForFunction(() => !location.hash.includes("model="));
  },
  { hash: "#v=1&model=owner/named@dev&r=4&data=markup&target_modules=q_proj,gone" },
);

onPage("the run file goes out and comes back", async (page) => {
  await setNumber(page, "Steps", 7);
  await page.getByRole("button", { name: "attention q, v" }).click();
  const waiting = page.waitForEvent("download");
  await page.getByRole("button", { name: "Download run.json" }).click();
  const download = await waiting;
  assert.equal(download.suggestedFilename(), "run.json");
  const written = await readFile(await download.path(), "utf8");
  const { model, data, lora, train } = JSON.parse(written);
  assert.deepEqual(
    [model, data.train, lora.target_modules, train.max_steps],
    ["demo", "demo:plain", ["q_proj", "v_proj"], 7],
  );
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
  await chooser.setInputFiles(
    file("x.json", JSON.stringify({ postil: 1, data: { train: "mine.csv" }, train: { max_steps: 3 } })),
  );
  await page.getByText("The run’s data is mine.csv: choose this file under Data.").waitFor();
});

onPage("a run file says how the files that it names are read", async (page) => {
  const asked = {
    postil: 1,
    data: { train: "./folder/mine.jsonl", format: "prompt-completion", columns: { prompt: "q", completion: "a" } },
    train: { max_steps: 5 },
  };
  await page.getByLabel("Open a run file").setInputFiles(file("run.json", JSON.stringify(asked)));
  await page.getByText("folder/mine.jsonl: choose this file under Data. It is then read as the run file says.").waitFor();
  const row = '{"q":"Q: ","a":"x"}\n';
  await useFile(page, "mine.jsonl", row);
  await panel(page, "Data").getByText(/^1 example of/).waitFor();
  assert.match(await page.getByRole("region", { name: "Take the settings along" }).textContent(), /run file/);
  // Another file is read as it is.
  await useFile(page, "other.jsonl", row);
  await panel(page, "Data").getByText(/no record that can be trained on; its columns are q, a/).waitFor();
});

onPage("the command line and the script are shown and copied", async (page) => {
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await summary(page, "The same run on the command line").click();
  await setNumber(page, "Steps", 7);
  await page.getByLabel("The same run on the command line").getByText("--max-steps 7").waitFor();
  await page.getByRole("button", { name: "Copy the command" }).click();
  await page.getByRole("status").getByText("Copied").waitFor();
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
    for (let closed; (closed = page.locator("main details:not([open]) > summary")) && (await closed.count()) > 0;)
      await closed.first().click();
    const { scroll, client } = await page.evaluate(() => ({
      scroll: document.documentElement.scrollWidth,
      client: document.documentElement.clientWidth,
    }));
    assert.ok(scroll <= client, `${scroll} > ${client}`);
    assert.ok(await trainButton(page).isEnabled());
  },
  { viewport: { width: 375, height: 740 } },
);
