// What goes wrong, and what the page then says and keeps, with the fake engine.
import assert from "node:assert/strict";
import { test } from "node:test";
import { example, fakePage, trainButton, useFile } from "./fake-page.mjs";
import { file, openPage, panel, setNumber, unnamed } from "./harness.mjs";

const { built, onPage } = fakePage();

/** More steps than any test waits for. */
const ENDLESS = 1_000_000;

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
  // Closed while it trains it would ask again.
  await page.getByRole("button", { name: "Stop", exact: true }).click();
  await page.getByText(/Stopped at step \d+/).waitFor();
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

onPage("a wrong model file is refused with the reason, and the model before goes on with its adapters", async (page) => {
  await setNumber(page, "Steps", 2);
  await trainButton(page).click();
  const train = panel(page, "Train");
  await train.getByText("Done.", { exact: true }).waitFor();
  await page.getByRole("button", { name: "Generate" }).waitFor();
  await page.getByText("Use another model").click();
  await page.getByLabel("Model files").setInputFiles([file("config.json", "no JSON"), file("tokenizer.json", "{}"), file("model.safetensors", "x")]);
  const model = panel(page, "Model");
  await model.getByRole("alert").getByText(/^“Your model” was not taken, and “Story model, built in” is still loaded and can be used: .*JSON/).waitFor();
  await model.locator(".model-name").getByText("built in").waitFor();
  assert.equal(await page.getByRole("button", { name: "Load the built-in model" }).count(), 0);
  await page.getByLabel("Prompt", { exact: true }).fill("step?");
  await page.getByRole("button", { name: "Generate" }).click();
  await panel(page, "Compare").locator(".side.tuned").first().getByText("step 2", { exact: true }).waitFor();
  await trainButton(page).click();
  await train.getByText(/Training on/).waitFor();
  await train.getByText("Done.", { exact: true }).waitFor();
  // What is right takes its place, and the refusal goes.
  await page.getByLabel("Model files").setInputFiles(file("other.gguf", "weights"));
  await model.locator(".model-name").getByText("other.gguf").waitFor();
  assert.equal(await model.getByRole("alert").count(), 0);
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

onPage("a request past the device's limits ends nothing but the run", async (page) => {
  await useFile(page, "too-large.jsonl", example("a"));
  await trainButton(page).click();
  await page.getByRole("alert").getByText("activations need 4 GiB in one buffer").waitFor();
  await page.getByRole("radio", { name: /Plain/ }).check();
  await setNumber(page, "Steps", 3);
  await trainButton(page).click();
  await panel(page, "Train").getByText("Done.", { exact: true }).waitFor();
});

for (const [what, initScript, reason] of [
  ["there is no WebGPU", () => delete Navigator.prototype.gpu, "this browser does not have it"],
  ["there is no adapter", () => (GPU.prototype.requestAdapter = async () => null), "offers no GPU to it"],
]) {
  test(`explains itself where ${what}`, async () => {
    const opened = await openPage(built.url, { share: true, initScript });
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
