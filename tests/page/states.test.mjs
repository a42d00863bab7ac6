// The states that pass or that nobody hopes for: each is explained, and as accessible as the rest.
import assert from "node:assert/strict";
import { check } from "./axe.mjs";
import { example, fakePage, holdAfter, trainButton, useFile } from "./fake-page.mjs";
import { file, panel, setNumber } from "./harness.mjs";

const { onPage } = fakePage();

const ENDLESS = 1_000_000;
const button = (page, name) => page.getByRole("button", { name, exact: true });

async function useModel(page, config) {
  if (!(await page.getByLabel("Model files").isVisible())) await page.getByText("Use another model").click();
  const text = typeof config === "string" ? config : JSON.stringify({ num_hidden_layers: 4, max_position_embeddings: 256, target_modules: ["q_proj"], ...config });
  await page.getByLabel("Model files").setInputFiles([file("config.json", text), file("tokenizer.json", "{}"), file("model.safetensors", "weights")]);
}

onPage("a model on its way, with its progress, and one that could not be loaded", async (page) => {
  // The Hub never answers.
  await page.context().route("https://huggingface.co/**", () => {});
  await page.getByText("Use another model").click();
  await page.getByLabel("Model name").fill("owner/name");
  await button(page, "Load from the Hub").click();
  await panel(page, "Model").getByRole("progressbar").waitFor();
  await check(page, "a model on its way");
  await button(page, "Cancel").click();
  await page.getByText("Loading was cancelled.").waitFor();
  await useModel(page, { breaks: true });
  await panel(page, "Model").getByRole("alert").getByText("the GPU is out of memory (fake)").waitFor();
  await check(page, "a model that could not be loaded");
  // Nobody is told to wait for what does not come.
  const missing = "There is no model: load one under Model.";
  for (const title of ["Train", "Sweep"]) await panel(page, title).getByText(missing).waitFor();
  await page.getByRole("radio", { name: /Markup/ }).check();
  await panel(page, "Data").getByText(missing).first().waitFor();
  await page.getByRole("navigation").getByText("there is no model").waitFor();
  await button(page, "Load the built-in model").click();
  await page.getByText("Ready.").waitFor();
}, { origins: ["https://huggingface.co"] });

onPage("settings that came by a link and wait for their model", async (page) => {
  await page.getByText("These settings are for owner/named from the Hub.").waitFor();
  await page.getByText(/max_steps 0 was left out/).waitFor();
  await check(page, "a link's settings");
}, { hash: "#v=1&model=owner/named&max_steps=0" });

onPage("an engine that cannot be made, tried again", async (page) => {
  await page.evaluate(() => caches.open("create-fails"));
  await page.reload();
  await page.getByRole("heading", { name: "The engine did not start" }).waitFor();
  await page.getByText("the engine cannot be made (fake)").waitFor();
  await check(page, "an engine that did not start");
  await page.evaluate(() => caches.delete("create-fails"));
  await button(page, "Try again").click();
  await page.getByText("Ready.").waitFor();
});

onPage("a run that is prepared, goes on, is interrupted, and is offered", async (page) => {
  page.on("dialog", (dialog) => dialog.accept());
  await setNumber(page, "Steps", ENDLESS);
  const step = await holdAfter(page, 0);
  await trainButton(page).click();
  await page.getByText(/^Preparing: planning memory/).waitFor();
  await check(page, "a run that is prepared");
  await step();
  await page.getByText(/Training on 4 examples/).waitFor();
  await check(page, "a run that goes on");
  await button(page, "Pause").click();
  await page.getByText(/Paused at step/).waitFor();
  await page.reload();
  await page.getByRole("region", { name: "Interrupted run" }).waitFor();
  await page.getByText("Ready.").waitFor();
  await check(page, "a run that was interrupted");
});

onPage("shaders that are compiled before a run goes on", async (page) => {
  await useFile(page, "slow-shaders.jsonl", example("a"));
  await setNumber(page, "Steps", 3);
  await trainButton(page).click();
  const train = panel(page, "Train");
  for (const done of [0, 1]) await train.getByText(`Compiling shaders: ${done} of 2`).waitFor();
  assert.equal(await train.getByRole("progressbar", { name: "Compiling shaders" }).getAttribute("value"), "1");
  await page.getByRole("navigation", { name: "Steps" }).getByText("compiling shaders, 1 of 2").waitFor();
  await check(page, "shaders being compiled");
  await train.getByText("Done.", { exact: true }).waitFor();
  assert.equal(await train.getByText(/Compiling shaders/).count(), 0);
});

onPage("shaders that are compiled before a text is written", async (page) => {
  await page.getByText("Sampling", { exact: true }).click();
  await setNumber(page, "Maximum tokens", 3);
  await page.getByLabel("Prompt", { exact: true }).fill("slow shaders");
  await button(page, "Generate").click();
  const compare = panel(page, "Compare");
  for (const done of [0, 1]) await compare.getByText(`Compiling shaders: ${done} of 2`).waitFor();
  assert.equal(await compare.getByRole("progressbar", { name: "Compiling shaders" }).getAttribute("value"), "1");
  await page.getByRole("navigation", { name: "Steps" }).getByText("compiling shaders, 1 of 2").waitFor();
  // Nothing is trained.
  await page.getByText("Ready.").waitFor();
  assert.equal(await panel(page, "Train").getByText(/Compiling shaders/).count(), 0);
  await check(page, "shaders being compiled for a text");
  await compare.getByText(/3 tokens/).waitFor();
  assert.equal(await compare.getByText(/Compiling shaders/).count(), 0);
  // A text that is stopped meanwhile leaves nothing behind.
  await button(page, "Generate").click();
  await compare.getByText("Compiling shaders: 0 of 2").waitFor();
  await button(page, "Stop writing").click();
  await compare.getByText(/stopped/).first().waitFor();
  assert.equal(await page.getByText(/compiling shaders/i).count(), 0);
});

onPage("a loss that is not finite, a model being merged, formats that are not for a model", async (page) => {
  await useFile(page, "not-finite.jsonl", example("a"));
  await trainButton(page).click();
  await panel(page, "Train").getByText("Not finite", { exact: true }).waitFor();
  await check(page, "a loss that is not finite");
  await page.getByRole("radio", { name: /Plain/ }).check();
  await useModel(page, { merging: "endless", refused_formats: { gguf: "no architecture for it" } });
  await setNumber(page, "Steps", 2);
  await trainButton(page).click();
  await panel(page, "Train").getByText("Done.", { exact: true }).waitFor();
  await page.getByText("Not for this model: no architecture for it.").waitFor();
  await button(page, "Write merged model").click();
  await page.getByRole("region", { name: "Merged model" }).getByText(/KiB of/).waitFor();
  await check(page, "a model being merged");
});

onPage("a browser that keeps nothing", async (page) => {
  await page.getByText("This browser keeps no runs").waitFor();
  await check(page, "no storage");
}, {
  initScript: () => {
    IDBFactory.prototype.open = () => {
      throw new DOMException("refused", "SecurityError");
    };
  },
});

onPage("nothing moves by itself for those who asked for that", async (page) => {
  const moving = () =>
    page.evaluate(() => document.getAnimations().map(({ animationName, effect }) => `${animationName} ${effect.target.className}`));
  await page.getByText("Sampling").first().click();
  await setNumber(page, "Maximum tokens", 250);
  await page.getByLabel("Prompt", { exact: true }).fill("without end");
  await button(page, "Generate").click();
  await page.locator(".side .written").first().waitFor();
  await page.waitForFunction(() => document.getAnimations().length > 0);
  await page.emulateMedia({ reducedMotion: "reduce" });
  assert.deepEqual(await moving(), []);
});
