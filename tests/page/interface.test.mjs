// What the page does around the engine, with a fake one: errors and moments that the real one does not show on demand.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { example, fakePage, trainButton, useFile } from "./fake-page.mjs";
import { file, openPage, panel, setNumber, unnamed, unzipSync, zipSync } from "./harness.mjs";

const { built, onPage } = fakePage();

/** More steps than any test waits for. */
const ENDLESS = 1_000_000;

onPage("trains, evaluates, compares and downloads", async (page) => {
  await setNumber(page, "Steps", 40);
  await trainButton(page).click();
  await panel(page, "Train").getByText("Done.", { exact: true }).waitFor();
  await panel(page, "Train").getByText("40 of 40", { exact: true }).waitFor();
  const heldOut = await panel(page, "Train").locator(".held-out").textContent();
  assert.match(heldOut, /3\.0000 before training → 0\.\d+ at step 40/);

  const compare = panel(page, "Compare");
  await compare.locator(".comparison").nth(1).getByText("tuned <b>answer</b>").waitFor();
  assert.equal(await compare.locator(".written b").count(), 0);
  await compare.getByRole("button", { name: "Generate" }).waitFor();
  assert.match(await compare.locator(".comparison").first().textContent(), /base answer/);

  const waiting = page.waitForEvent("download");
  await page.getByRole("button", { name: "Download PEFT adapter" }).click();
  const download = await waiting;
  assert.equal(download.suggestedFilename(), "story-model-built-in-plain-r16-step-40.zip");
  const files = unzipSync(await readFile(await download.path()));
  assert.deepEqual(Object.keys(files).sort(), ["adapter_config.json", "adapter_model.safetensors"]);
  assert.deepEqual([...files["adapter_model.safetensors"]], [1, 2, 3, 40]);
});

onPage("stops after the step in progress and keeps the adapter", async (page) => {
  await setNumber(page, "Steps", ENDLESS);
  await trainButton(page).click();
  await page.getByText(/Training on 4 examples/).waitFor();
  await page.getByRole("button", { name: "Stop", exact: true }).click();
  await page.getByText(/Stopped at step \d+/).waitFor();
  await page.getByRole("button", { name: "Download PEFT adapter" }).waitFor();
});

onPage("generates between training steps, and the run goes on", async (page) => {
  await setNumber(page, "Steps", ENDLESS);
  await trainButton(page).click();
  await page.getByText(/Training on 4 examples/).waitFor();
  await page.getByRole("button", { name: "Generate" }).click();
  await page.locator(".side.tuned").getByText("100 tokens").waitFor();
  const step = async () => Number((await page.locator(".figures dd").first().textContent()).split(" ")[0]);
  const then = await step();
  await page.waitForFunction((then) => parseInt(document.querySelector(".figures dd").textContent) > then, then);
});

onPage("tells example prompts apart by where they differ", async (page) => {
  const examples = page.getByRole("group", { name: "Example prompts" }).getByRole("button");
  assert.deepEqual(await examples.allTextContents(), ["…postil?", "…<b>margin</b>?"]);
  await examples.nth(1).click();
  assert.equal(await page.getByLabel("Prompt", { exact: true }).inputValue(), "What is a <b>margin</b>?");
});

onPage("stops writing", async (page) => {
  await page.getByLabel("Prompt", { exact: true }).fill("Write without end");
  await page.getByRole("button", { name: "Generate" }).click();
  await page.getByText("base answer").waitFor();
  await page.getByRole("button", { name: "Stop writing" }).click();
  await page.getByText(/stopped \d+ tokens/).waitFor();
});

onPage("training again ends the comparison that is being written", async (page) => {
  await page.getByLabel("Prompt", { exact: true }).fill("Write without end");
  await page.getByRole("button", { name: "Generate" }).click();
  await page.getByText("base answer").waitFor();
  await setNumber(page, "Steps", ENDLESS);
  await trainButton(page).click();
  await page.getByText(/stopped \d+ tokens/).waitFor();
  await page.getByText(/Training on 4 examples/).waitFor();
});

onPage("asks before a run is left", async (page, { context }) => {
  // With its last page the browser itself would end.
  await context.newPage();
  await setNumber(page, "Steps", ENDLESS);
  await trainButton(page).click();
  await page.getByText(/Training on 4 examples/).waitFor();
  const asked = page.waitForEvent("dialog");
  void page.close({ runBeforeUnload: true });
  const dialog = await asked;
  assert.equal(dialog.type(), "beforeunload");
  await dialog.dismiss();
});

onPage("names skipped lines and their reasons", async (page) => {
  await useFile(page, "mixed.jsonl", `${example("a")}not json\n${example("b")}{broken\n`);
  const data = panel(page, "Data");
  await data.getByText("2 lines skipped").waitFor();
  assert.deepEqual(await data.locator(".skipped li").allTextContents(), [
    "Line 2: not a JSON object",
    "Line 4: not a JSON object",
  ]);
  await data.getByText("2 of 5 lines were skipped").waitFor();
  assert.ok(await trainButton(page).isEnabled());
});

onPage("does not train on a file without examples", async (page) => {
  await useFile(page, "bad.jsonl", "not json\n");
  await panel(page, "Data").getByText("bad.jsonl: no line holds an example; line 1: not a JSON object").waitFor();
  assert.ok(await trainButton(page).isDisabled());
  await page.getByText("The training data cannot be used as it is.").waitFor();
});

onPage("shows markup in data and names as text", async (page) => {
  await page.getByRole("radio", { name: /Markup/ }).check();
  const data = panel(page, "Data");
  await data.locator(".example").getByText("<img src=x onerror='window.hacked=true'>").waitFor();
  await useFile(page, "<b>bold</b>.jsonl", example("x"));
  await data.getByText("<b>bold</b>.jsonl").waitFor();
  assert.equal(await page.locator("#app img, #app script, #app b").count(), 0);
  assert.equal(await page.evaluate(() => window.hacked), undefined);
});

onPage("marks what is trained on by more than colour", async (page) => {
  const mark = panel(page, "Data").locator(".example mark");
  assert.equal(await mark.textContent(), "[trained on: Answer 1]");
  assert.match(await mark.evaluate((element) => getComputedStyle(element).textDecorationLine), /underline/);
});

onPage("counts parameters as the settings change, and warns", async (page) => {
  const settings = panel(page, "Adapter");
  await settings.getByText(/57,344 trainable parameters/).waitFor();
  await page.getByRole("checkbox", { name: "q_proj" }).uncheck();
  await settings.getByText(/49,152 trainable parameters/).waitFor();
  await setNumber(page, "Rank", 128);
  await settings.getByText("r 128 is larger than hidden_size 64").waitFor();
  await page.getByRole("button", { name: "attention q, v" }).click();
  await page.getByRole("checkbox", { name: "q_proj" }).uncheck();
  await page.getByRole("checkbox", { name: "v_proj" }).uncheck();
  await settings.getByText("Choose at least one module").waitFor();
  assert.ok(await trainButton(page).isDisabled());
});

const memory = (page) => page.getByRole("region", { name: "GPU memory (estimate)" });

onPage("shows what a run takes of the memory, by part, and whether it fits", async (page) => {
  const shown = memory(page);
  await shown.getByText("522 MiB of 2.0 GiB: fits").waitFor();
  const parts = await shown.locator(".memory-parts > div").allTextContents();
  assert.deepEqual(parts, [
    "Weights4.0 MiB",
    "Adapter1.0 MiB",
    "Gradients1.0 MiB",
    "Moments2.0 MiB",
    "Activations512 MiB",
    "Workspace2.0 MiB",
  ]);
  await shown.getByText("as browsers do not tell how much there is: the default for a fake GPU").waitFor();
  await setNumber(page, "Batch size", 4);
  await shown.getByText("266 MiB of 2.0 GiB: fits").waitFor();
});

onPage("a run that does not fit is refused, and can be made to", async (page) => {
  const shown = memory(page);
  await page.getByText("Advanced").click();
  await setNumber(page, "Memory budget (GiB)", 0.1);
  const alert = shown.getByRole("alert");
  await alert.getByText("The run needs 522 MiB of GPU memory, and 102 MiB may be taken. With one of these changes it fits:").waitFor();
  await shown.getByText("Now 102 MiB: what you allow").waitFor();
  await page.getByText("The run does not fit the memory budget.").waitFor();
  assert.ok(await trainButton(page).isDisabled());
  assert.deepEqual(await alert.locator("li").allTextContents(), [
    "Batch size 1, Accumulation 8: 74.0 MiB (fits) Apply",
    "Gradient checkpointing on: 266 MiB (not enough) ",
  ]);
  assert.deepEqual(await unnamed(page), []);
  await page.getByRole("button", { name: "Make it fit" }).focus();
  await page.keyboard.press("Enter");
  await shown.getByText("74.0 MiB of 102 MiB: fits").waitFor();
  assert.equal(await alert.count(), 0);
  assert.equal(await page.getByRole("spinbutton", { name: "Batch size" }).inputValue(), "1");
  assert.equal(await page.getByRole("spinbutton", { name: "Accumulation" }).inputValue(), "8");
  assert.ok(await trainButton(page).isEnabled());

  // One that is enough can be taken by itself.
  await setNumber(page, "Batch size", 2);
  await alert.getByRole("button", { name: "Apply: Gradient checkpointing on" }).click();
  await shown.getByText("74.0 MiB of 102 MiB: fits").waitFor();

  // Nothing is left to change.
  await setNumber(page, "Batch size", 1);
  await setNumber(page, "Memory budget (GiB)", 0.01);
  await alert.getByText("Use a lower rank, fewer target modules or a smaller model, or allow more memory").waitFor();
  assert.equal(await alert.getByRole("button").count(), 0);
  await setNumber(page, "Memory budget (GiB)", "");
  await shown.getByText("42.0 MiB of 2.0 GiB: fits").waitFor();
});

onPage("a model that is too large is not loaded, and the one before stays", async (page) => {
  await setNumber(page, "Memory budget (GiB)", 0.001);
  await page.getByText("Use another model").click();
  await page.getByLabel("Model files").setInputFiles(file("large.gguf", Buffer.alloc(2 * 2 ** 20)));
  const model = panel(page, "Model");
  await model.getByRole("alert").getByText(/needs 2097152 bytes of GPU memory.*Memory budget, under Train/).waitFor();
  await model.locator(".model-name").getByText("built in").waitFor();
  await setNumber(page, "Memory budget (GiB)", 1);
  await page.getByLabel("Model files").setInputFiles(file("large.gguf", Buffer.alloc(2 * 2 ** 20)));
  await model.locator(".model-name").getByText("large.gguf").waitFor();
});

onPage("shows a field that is wrong, even in a closed section", async (page) => {
  await page.getByText("Advanced").click();
  await setNumber(page, "Accumulation", 0);
  await page.getByText("Advanced").click();
  await trainButton(page).click();
  await page.getByLabel("Accumulation").waitFor({ state: "visible" });
  await page.getByText("Ready.").waitFor();
});

onPage("a loss that is not finite ends the run with the engine's words", async (page) => {
  await useFile(page, "not-finite.jsonl", example("a"));
  await trainButton(page).click();
  await page.getByText("the loss is not a finite number at step 3; lower learning_rate").waitFor();
  assert.ok(await trainButton(page).isEnabled());
});

for (const [name, words] of [
  ["device-lost.jsonl", "the GPU device was lost: driver restarted"],
  ["out-of-memory.jsonl", "The GPU’s memory ran out"],
  ["trap.jsonl", "ran into an error of its own (unreachable)"],
  ["silent-trap.jsonl", "ran into an error of its own (Uncaught RuntimeError: unreachable)"],
]) {
  onPage(`recovers from ${name}`, async (page) => {
    await page.getByText("Advanced").click();
    await setNumber(page, "Evaluate every", 1);
    await useFile(page, name, example("a"));
    await page.getByLabel("Held-out file (optional)").setInputFiles(file("eval.jsonl", example("b")));
    await panel(page, "Data").getByText("Held-out data").waitFor();
    await trainButton(page).click();
    await page.getByText("The engine has stopped").waitFor();
    await page.getByText(words).waitFor();
    await page.getByText(/The run it was in has ended/).waitFor();
    const waiting = page.waitForEvent("download");
    await page.getByRole("button", { name: "Download the adapter as of step 2" }).click();
    assert.equal((await waiting).suggestedFilename(), `story-model-built-in-${name.replace(".jsonl", "")}-r16-step-2.zip`);
    await page.getByRole("button", { name: "Start again" }).click();
    await page.getByRole("radio", { name: /Plain/ }).check();
    await setNumber(page, "Steps", 5);
    await trainButton(page).click();
    await panel(page, "Train").getByText("Done.", { exact: true }).waitFor();
  });
}

onPage("a damaged Parquet file costs nobody the engine", async (page) => {
  await useFile(page, "damaged.parquet", "PAR1 and more");
  await panel(page, "Data").getByRole("alert").getByText("damaged.parquet: damaged Parquet").waitFor();
  assert.ok(await trainButton(page).isDisabled());
  // What is wrong with one that can be read is said by the engine.
  await useFile(page, "other.parquet", "PAR1 and more");
  await panel(page, "Data").getByRole("alert").getByText("other.parquet: no Parquet in this fake").waitFor();
  await page.getByRole("radio", { name: /Plain/ }).check();
  await setNumber(page, "Steps", 3);
  await trainButton(page).click();
  await panel(page, "Train").getByText("Done.", { exact: true }).waitFor();
});

onPage("a file that ends the engine is not what the next one begins with", async (page) => {
  await useFile(page, "inspected-trap.jsonl", example("a"));
  await page.getByText("The engine has stopped").waitFor();
  await page.getByText("ran into an error of its own (unreachable)").waitFor();
  await page.getByRole("button", { name: "Start again" }).click();
  await page.getByText("Ready.").or(page.getByText("The training data cannot be used as it is.")).first().waitFor();
  await panel(page, "Data").getByRole("alert").getByText("ran into an error of its own").waitFor();
  await page.getByRole("radio", { name: /Plain/ }).check();
  await setNumber(page, "Steps", 3);
  await trainButton(page).click();
  await panel(page, "Train").getByText("Done.", { exact: true }).waitFor();
});

onPage("batches can be grouped by length, which packed rows are already", async (page) => {
  const [packing, grouped] = ["Packing", "Group by length"].map((name) => page.getByLabel(name));
  await page.getByText("Advanced").click();
  await packing.check();
  await grouped.check();
  assert.equal(await packing.isChecked(), false);
  await packing.check();
  assert.equal(await grouped.isChecked(), false);
  await grouped.check();
  await setNumber(page, "Steps", 3);
  await trainButton(page).click();
  await page.getByText("group_by_length is on").waitFor();
  assert.equal(await page.getByText("packing is on").count(), 0);
});

onPage("a request past the device's limits ends nothing but the run", async (page) => {
  await useFile(page, "too-large.jsonl", example("a"));
  await trainButton(page).click();
  await page.getByRole("alert").getByText("activations need 4 GiB in one buffer").waitFor();
  await page.getByRole("radio", { name: /Plain/ }).check();
  await setNumber(page, "Steps", 3);
  await trainButton(page).click();
  await panel(page, "Train").getByText("Done.", { exact: true }).waitFor();
});

onPage("keeps the focus on the button that starts and stops", async (page) => {
  const focused = () => page.evaluate(() => document.activeElement.textContent);
  await setNumber(page, "Steps", ENDLESS);
  await trainButton(page).focus();
  await page.keyboard.press("Enter");
  await page.getByText(/Training on 4 examples/).waitFor();
  assert.equal(await focused(), "Stop");
  await page.keyboard.press("Enter");
  await page.getByText(/Stopped at step \d+/).waitFor();
  assert.equal(await focused(), "Train");

  await panel(page, "Compare").getByRole("button", { name: /Generate|Stop writing/ }).focus();
  await page.getByRole("button", { name: "Generate" }).waitFor();
  await page.getByLabel("Prompt", { exact: true }).fill("Write without end");
  await page.getByRole("button", { name: "Generate" }).focus();
  await page.keyboard.press("Enter");
  await page.getByText("base answer base").first().waitFor();
  assert.equal(await focused(), "Stop writing");
  await page.keyboard.press("Enter");
  await page.getByText(/stopped \d+ tokens/).first().waitFor();
  assert.equal(await focused(), "Generate");
});

onPage("a double click or a held key on Train does not stop the run", async (page) => {
  await setNumber(page, "Steps", ENDLESS);
  await trainButton(page).dblclick();
  await page.getByText(/Training on 4 examples/).waitFor();
  await page.waitForTimeout(200);
  await page.getByRole("button", { name: "Stop", exact: true }).focus();
  await page.keyboard.press("Enter");
  await page.getByText(/Stopped at step \d+/).waitFor();
  await page.keyboard.down("Enter");
  await page.getByRole("button", { name: "Stop", exact: true }).waitFor();
  await page.keyboard.down("Enter");
  await page.keyboard.up("Enter");
  await page.getByText(/Training on 4 examples/).waitFor();
  await page.waitForTimeout(200);
  await page.getByRole("button", { name: "Stop", exact: true }).waitFor();
});

onPage("says when a text is done", async (page) => {
  await setNumber(page, "Steps", 3);
  await page.evaluate(() => {
    window.said = [];
    const live = [...document.querySelectorAll("[aria-live=polite]")];
    for (const region of live) {
      new MutationObserver(() => region.textContent && window.said.push(region.textContent)).observe(region, {
        characterData: true,
        childList: true,
        subtree: true,
      });
    }
  });
  await trainButton(page).click();
  await page.locator(".comparison").first().waitFor();
  await page.getByRole("button", { name: "Generate" }).waitFor();
  const texts = (await page.evaluate(() => window.said)).filter((text) => / text /.test(text));
  assert.deepEqual(texts.slice(0, 4), ["Base text done", "Tuned text done", "Base text done", "Tuned text done"]);
});

onPage("offers the best adapter beside the last", async (page) => {
  await page.getByText("Advanced").click();
  await setNumber(page, "Evaluate every", 2);
  await setNumber(page, "Steps", 9);
  await useFile(page, "overfitted.jsonl", example("a"));
  await page.getByLabel("Held-out file (optional)").setInputFiles(file("eval.jsonl", example("b")));
  await panel(page, "Data").getByText("Held-out data").waitFor();
  await trainButton(page).click();
  await panel(page, "Train").getByText("Done.", { exact: true }).waitFor();
  await panel(page, "Train").getByText(/lowest 2\.\d+ at step 4/).waitFor();
  const lastByte = async () => {
    const waiting = page.waitForEvent("download");
    await page.getByRole("button", { name: "Download PEFT adapter" }).click();
    const download = await waiting;
    const files = unzipSync(await readFile(await download.path()));
    return [download.suggestedFilename(), files["adapter_model.safetensors"].at(-1)];
  };
  const name = (step) => `story-model-built-in-overfitted-r16-step-${step}.zip`;
  assert.deepEqual(await lastByte(), [name(9), 9]);
  await page.getByRole("radio", { name: /The best: step 4/ }).check();
  assert.deepEqual(await lastByte(), [name(4), 4]);
  // Where the last is the best there is only one.
  await page.getByRole("radio", { name: /Plain/ }).check();
  await trainButton(page).click();
  await panel(page, "Train").getByText("Done.", { exact: true }).waitFor();
  assert.equal(await page.getByRole("radio", { name: /The best: step/ }).count(), 0);
});

onPage("the settings begin as the command line's, and alpha follows the rank until it is written", async (page) => {
  const value = (label) => page.getByRole("spinbutton", { name: label, exact: true }).inputValue();
  assert.deepEqual(await Promise.all(["Rank", "Alpha", "Learning rate"].map(value)), ["16", "32", "0.0002"]);
  await setNumber(page, "Rank", 4);
  assert.equal(await value("Alpha"), "8");
  await setNumber(page, "Rank", "");
  assert.equal(await value("Alpha"), "8");
  await setNumber(page, "Rank", 5);
  assert.equal(await value("Alpha"), "10");
  await setNumber(page, "Alpha", 0);
  await page.getByText("lora_alpha is 0: the adapter has no effect").waitFor();
  await setNumber(page, "Alpha", 20);
  await setNumber(page, "Rank", 6);
  assert.equal(await value("Alpha"), "20");
});

onPage("a rank of 0 is refused", async (page) => {
  await setNumber(page, "Rank", 0);
  await page.getByText("The rank is a whole number, 1 or more.").waitFor();
  assert.ok(await trainButton(page).isDisabled());
  await setNumber(page, "Rank", 1);
  await page.getByText("Ready.").waitFor();
});

onPage("data without a token to train on is refused, and what is trained on can be widened", async (page) => {
  const chat = JSON.stringify({ messages: [{ role: "user", content: "Anyone there?" }] });
  await useFile(page, "unanswered.jsonl", chat);
  await panel(page, "Data").getByRole("alert").getByText("1 has no assistant turn").waitFor();
  assert.ok(await trainButton(page).isDisabled());
  await page.getByText("Advanced").click();
  await page.getByLabel("Of chats, train on the assistant’s turns only").uncheck();
  await page.getByText("Ready.").waitFor();
});

onPage("shows what a data set is before it is trained on", async (page) => {
  const data = panel(page, "Data").locator(".file-report").first();
  await data.getByRole("img", { name: /Histogram of lengths/ }).locator("canvas").waitFor();
  await data.getByText("In numbers").click();
  const facts = async () =>
    Object.fromEntries(
      await data.locator(".counts > div").evaluateAll((rows) =>
        rows.map((row) => [row.querySelector("dt").textContent, row.querySelector("dd").textContent]),
      ),
    );
  assert.deepEqual(await facts(), {
    Format: "JSON Lines, prompt/completion",
    Records: "4",
    Examples: "4",
    Truncated: "0 cut to 256 tokens",
    Dropped: "0",
    Duplicates: "0",
    "Trained tokens": "40 (50 %)",
    "Masked tokens": "40 (50 %)",
    "Packed, if chosen": "1 row of 256, 31.3 % full",
  });
  const drawing = data.getByRole("img", { name: /Histogram of lengths/ }).first();
  assert.equal(
    await drawing.getAttribute("aria-label"),
    "Histogram of lengths, from 20 to 30 tokens; most (3 records) have 20–24. Maximum length 256: none is longer.",
  );
  // Seen without unfolding anything, and drawn.
  const pixels = () => drawing.locator("canvas").evaluate((canvas) => canvas.toDataURL());
  const whole = await pixels();
  await page.getByText("Advanced").click();
  await setNumber(page, "Maximum length", 27);
  await page.getByRole("img", { name: /Maximum length 27: 1 record longer, and cut/ }).first().waitFor();
  assert.equal((await facts()).Truncated, "1 cut to 27 tokens");
  await data.getByText("dashed: the maximum length of 27").waitFor();
  assert.notEqual(await pixels(), whole);
  await data.getByText("Lengths as a table").click();
  const rows = await data.getByRole("group", { name: "Records by length" }).locator("tbody tr").allTextContents();
  assert.deepEqual(rows, ["20–243", "25–290", "30–341"]);
  assert.match(await data.locator(".percentiles").first().textContent(), /Median20.*99 %30Longest30/);
  await page.getByLabel("Packing").check();
  assert.ok("Packed" in (await facts()));
});

onPage("warns of tiny sets, of many duplicates, and of what the engine warns of", async (page) => {
  const data = panel(page, "Data");
  const many = (count, text) => Array.from({ length: count }, (_, i) => example(text(i))).join("");
  await useFile(page, "one.jsonl", example("a"));
  await data.getByText(/There is only 1 example: enough to try things out/).waitFor();
  await useFile(page, "few.jsonl", many(29, (i) => `a${i}`));
  await data.getByText(/There are only 29 examples/).waitFor();
  await useFile(page, "enough.jsonl", many(30, (i) => `a${i}`));
  await data.getByText(/^30 examples of/).waitFor();
  assert.equal(await data.getByText(/There are only/).count(), 0);
  await useFile(page, "some-twice.jsonl", many(40, (i) => `a${i % 36}`));
  await data.getByText(/^40 examples of/).waitFor();
  assert.equal(await data.getByText(/are equal to others/).count(), 0);
  await useFile(page, "twice.jsonl", many(40, (i) => `a${i % 20}`));
  await data.getByText("20 of 40 examples are equal to others: they count for more than the rest.").waitFor();
  await useFile(page, "no-end.jsonl", many(30, (i) => `a${i}`));
  await data.getByText(/the tokenizer names no end token/).waitFor();
});

onPage("columns with other names are mapped", async (page) => {
  const line = (ask, reply) => `${JSON.stringify({ ask, reply, source: "web" })}\n`;
  await useFile(page, "named.jsonl", line("Why?", "Because.") + line("How?", "So."));
  const data = panel(page, "Data");
  await data.getByText("its columns are ask, reply, source").waitFor();
  assert.ok(await trainButton(page).isDisabled());
  const format = page.getByLabel("Read the records as");
  await format.selectOption("Prompt and completion");
  const prompt = page.getByLabel("Prompt is in");
  assert.deepEqual(await prompt.locator("option").allTextContents(), ["choose a column", "ask", "reply", "source"]);
  await prompt.selectOption("ask");
  assert.ok(await trainButton(page).isDisabled());
  await page.getByLabel("Completion is in").selectOption("reply");
  assert.equal(await data.locator(".example mark").textContent(), "[trained on: Because.]");
  await setNumber(page, "Steps", 3);
  await trainButton(page).click();
  await panel(page, "Train").getByText("Done.", { exact: true }).waitFor();
  // As the engine finds it: not at all.
  await format.selectOption("what their names say");
  await data.getByRole("alert").getByText("no record that can be trained on").waitFor();
});

onPage("what the user chose and wrote is in no address", async (page, { requests }) => {
  await useFile(page, "secretname.jsonl", example("secretdata"));
  await page.getByLabel("Prompt", { exact: true }).fill("secretprompt");
  await page.getByRole("button", { name: "Generate" }).click();
  await page.getByText("base answer").waitFor();
  await page.getByText("Use another model").click();
  await page.getByText("Another Hub").click();
  await page.getByLabel("Hub address").fill(new URL(built.url).origin);
  await page.getByLabel("Model name").fill("owner/named");
  await page.getByLabel("Access token (optional)").fill("secrettoken");
  await page.getByRole("button", { name: "Generate" }).waitFor();
  await page.getByRole("button", { name: "Load from the Hub" }).click();
  await panel(page, "Model").getByRole("alert").waitFor();
  const addresses = [...requests, page.url(), ...(await page.evaluate(() => Object.keys(localStorage)))];
  assert.ok(addresses.some((address) => address.includes("owner/named")), addresses.join(" "));
  assert.deepEqual(addresses.filter((address) => /secret/i.test(decodeURIComponent(address))), []);
}, { expected: /Failed to load resource/ });

onPage(
  "the worker runs under the page's policy",
  async (page) => {
    // In a task of its own: what the debugger evaluates itself is allowed everything.
    const tried = () => {
      try {
        return new Function("return 'run'")();
      } catch (error) {
        return error.name;
      }
    };
    const later = `new Promise((resolve) => setTimeout(() => resolve((${tried})())))`;
    const outcome = await page.workers()[0].evaluate(later);
    assert.equal(outcome, "EvalError");
  },
  { expected: /unsafe-eval/ },
);


onPage("starts from an adapter, as two files or a zip", async (page) => {
  const config = JSON.stringify({ r: 8, lora_alpha: 24, target_modules: ["q_proj", "v_proj"] });
  await page.getByText("Start from an existing adapter").click();
  const chooser = page.getByLabel("Adapter files");

  await chooser.setInputFiles([file("adapter_config.json", config)]);
  await page.getByText(/An adapter is two files, and what was chosen is: adapter_config.json/).waitFor();
  await chooser.setInputFiles([file("adapter.zip", "no zip")]);
  await page.getByText("adapter.zip is not a zip file that can be read").waitFor();
  const wrong = JSON.stringify({ r: 128 });
  await chooser.setInputFiles([file("adapter_config.json", wrong), file("adapter_model.safetensors", "x")]);
  await page.getByText("lora_A of q_proj is [8, 64]; expected [128, 64]").waitFor();

  const bytes = (text) => new TextEncoder().encode(text);
  const zip = zipSync({ "run/adapter_config.json": bytes(config), "run/adapter_model.safetensors": bytes("x") });
  await chooser.setInputFiles([file("adapter.zip", zip)]);
  await page.getByText(/Training goes on from adapter.zip/).waitFor();
  assert.equal(await page.getByLabel("Rank", { exact: true }).inputValue(), "8");
  assert.equal(await page.getByLabel("Alpha", { exact: true }).inputValue(), "24");
  await page.getByRole("button", { name: "Generate" }).click();
  await page.locator(".side.tuned").getByText("tuned").first().waitFor();
  await page.getByRole("button", { name: "Generate" }).waitFor();
  await setNumber(page, "Steps", 3);
  await trainButton(page).click();
  await page.getByText("training goes on from an adapter").waitFor();
});

onPage("every control has a name, before and after a run", async (page) => {
  for (const summary of await page.locator("summary").all()) {
    if (await summary.evaluate((element) => !element.parentElement.open)) await summary.click();
  }
  await page.getByRole("radio", { name: /Your own file/ }).check();
  assert.deepEqual(await unnamed(page), []);
  await page.getByRole("radio", { name: /Plain/ }).check();
  await setNumber(page, "Steps", 3);
  await trainButton(page).click();
  await panel(page, "Train").getByText("Done.", { exact: true }).waitFor();
  await page.getByText("Loss as a table").click();
  await panel(page, "Train").locator("tbody tr").nth(2).waitFor();
  assert.deepEqual(await unnamed(page), []);
  assert.match(await panel(page, "Train").locator("[aria-live=polite]").textContent(), /Training is done. Step 3 of 3/);
});

onPage("can be used from the keyboard alone", async (page) => {
  const reached = new Set();
  for (let i = 0; i < 60; i++) {
    await page.keyboard.press("Tab");
    reached.add(await page.evaluate(() => document.activeElement?.textContent?.trim() || document.activeElement?.id));
    if (reached.has("Train")) break;
  }
  assert.ok(reached.has("Train"), [...reached].join(", "));
  await page.keyboard.press("Enter");
  await page.getByText(/Training on 4 examples/).waitFor();
});

onPage(
  "fits a narrow screen",
  async (page) => {
    const { scroll, client } = await page.evaluate(() => ({
      scroll: document.documentElement.scrollWidth,
      client: document.documentElement.clientWidth,
    }));
    assert.ok(scroll <= client, `${scroll} > ${client}`);
  },
  { viewport: { width: 360, height: 740 }, colorScheme: "dark" },
);

for (const [what, initScript, reason] of [
  ["there is no WebGPU", () => delete Navigator.prototype.gpu, "this browser does not have it"],
  ["there is no adapter", () => (GPU.prototype.requestAdapter = async () => null), "offers no GPU to it"],
]) {
  test(`explains itself where ${what}`, async () => {
    const opened = await openPage(built.url, { initScript });
    await isExplained(opened, reason);
    await opened.close();
  });
}

test("explains itself where WebGPU is switched off", async () => {
  const opened = await openPage(built.url, { webgpu: false });
  await isExplained(opened, /offers no GPU to it|does not have it/);
  await opened.close();
});

async function isExplained({ page, requests }, reason) {
  await page.getByRole("heading", { name: "This browser cannot train here" }).waitFor();
  await page.getByText(reason).waitFor();
  await page.getByRole("rowheader", { name: "Chrome and Edge" }).waitFor();
  assert.equal(await page.locator("button, input").count(), 0);
  assert.ok(!requests.some((url) => /worker|\.wasm|demo\//.test(url)), requests.join(" "));
}
