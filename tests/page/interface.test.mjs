// What the page does around the engine, with a fake one: errors and moments that the real one does not show on demand.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { build, file, here, openPage, panel, remove, serve, setNumber, unnamed, unzipSync, zipSync } from "./harness.mjs";

let folder;
let server;

before(async () => {
  folder = await build({ fake: true });
  server = await serve([`${here}fake`, folder]);
});

after(async () => {
  server?.close();
  if (folder) await remove(folder);
});

/** Runs a test on a fresh page that is ready to train. */
function onPage(name, act, options) {
  test(name, async () => {
    const opened = await openPage(server.url, options);
    try {
      await opened.page.getByText("Ready.").waitFor();
      await act(opened.page, opened);
    } catch (error) {
      await opened.close().catch(() => {});
      throw error;
    }
    await opened.close();
  });
}

const trainButton = (page) => page.getByRole("button", { name: "Train", exact: true });
const example = (text) => `{"prompt":"Q: ","completion":"${text}"}\n`;

async function useFile(page, name, content) {
  await page.getByRole("radio", { name: /Your own file/ }).check();
  await page.getByLabel("Training file").setInputFiles(file(name, content));
}

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
  await page.getByRole("button", { name: "Download adapter.zip" }).click();
  const download = await waiting;
  assert.equal(download.suggestedFilename(), "adapter.zip");
  const files = unzipSync(await readFile(await download.path()));
  assert.deepEqual(Object.keys(files).sort(), ["adapter_config.json", "adapter_model.safetensors"]);
  assert.deepEqual([...files["adapter_model.safetensors"]], [1, 2, 3, 4]);
});

onPage("stops after the step in progress and keeps the adapter", async (page) => {
  await setNumber(page, "Steps", 5000);
  await trainButton(page).click();
  await page.getByText(/Training on 4 examples/).waitFor();
  await page.getByRole("button", { name: "Stop", exact: true }).click();
  await page.getByText(/Stopped at step \d+/).waitFor();
  await page.getByRole("button", { name: "Download adapter.zip" }).waitFor();
});

onPage("generates between training steps, and the run goes on", async (page) => {
  await setNumber(page, "Steps", 5000);
  await trainButton(page).click();
  await page.getByText(/Training on 4 examples/).waitFor();
  await page.getByRole("button", { name: "Generate" }).click();
  await page.locator(".side.tuned").getByText("100 tokens").waitFor();
  const step = async () => Number((await page.locator(".figures dd").first().textContent()).split(" ")[0]);
  const then = await step();
  await page.waitForTimeout(500);
  assert.ok((await step()) > then, "no step after generating");
});

onPage("tells example prompts apart by where they differ", async (page) => {
  const examples = page.getByRole("group", { name: "Example prompts" }).getByRole("button");
  assert.deepEqual(await examples.allTextContents(), ["…postil?", "…<b>margin</b>?"]);
  await examples.nth(1).click();
  assert.equal(await page.getByLabel("Prompt", { exact: true }).inputValue(), "What is a <b>margin</b>?");
});

onPage("stops writing", async (page) => {
  await page.getByText("Sampling").click();
  await setNumber(page, "Maximum tokens", 256);
  await page.getByRole("button", { name: "Generate" }).click();
  await page.getByText("base answer").waitFor();
  await page.getByRole("button", { name: "Stop writing" }).click();
  await page.getByText(/stopped \d+ tokens/).waitFor();
});

onPage("training again ends the comparison that is being written", async (page) => {
  await page.getByText("Sampling").click();
  await setNumber(page, "Maximum tokens", 256);
  await page.getByRole("button", { name: "Generate" }).click();
  await page.getByText("base answer").waitFor();
  await setNumber(page, "Steps", 5000);
  await trainButton(page).click();
  await page.getByText(/stopped \d+ tokens/).waitFor();
  await page.getByText(/Training on 4 examples/).waitFor();
});

onPage("asks before a run is left", async (page) => {
  await setNumber(page, "Steps", 5000);
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
  const settings = panel(page, "Adapter and training");
  await settings.getByText(/57,344 trainable parameters/).waitFor();
  await page.getByRole("checkbox", { name: "q_proj" }).uncheck();
  await settings.getByText(/49,152 trainable parameters/).waitFor();
  await setNumber(page, "Rank", 128);
  await settings.getByText("r 128 is larger than hidden_size 64").waitFor();
  await page.getByRole("checkbox", { name: "all" }).check();
  await page.getByRole("checkbox", { name: "all" }).uncheck();
  await settings.getByText("Choose at least one module").waitFor();
  assert.ok(await trainButton(page).isDisabled());
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
    const waiting = page.waitForEvent("download");
    await page.getByRole("button", { name: "Download the adapter as of step 2" }).click();
    assert.equal((await waiting).suggestedFilename(), "adapter.zip");
    await page.getByRole("button", { name: "Start again" }).click();
    await page.getByRole("radio", { name: /Plain/ }).check();
    await setNumber(page, "Steps", 5);
    await trainButton(page).click();
    await panel(page, "Train").getByText("Done.", { exact: true }).waitFor();
  });
}

onPage("an adapter survives the tab, until it is forgotten", async (page) => {
  await setNumber(page, "Steps", 3);
  await trainButton(page).click();
  await panel(page, "Train").getByText("Done.", { exact: true }).waitFor();
  await page.getByRole("button", { name: "Generate" }).waitFor();
  await page.reload();
  const kept = page.getByText(/left its adapter in this browser/);
  await kept.waitFor();
  await page.getByRole("button", { name: "Forget it" }).click();
  await kept.waitFor({ state: "detached" });
  await page.reload();
  await page.getByText("Ready.").waitFor();
  assert.equal(await kept.count(), 0);
});

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
  assert.equal(await page.getByLabel("Rank").inputValue(), "8");
  assert.equal(await page.getByLabel("Alpha").inputValue(), "24");
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
  assert.match(await page.locator("[aria-live=polite]").textContent(), /Training is done. Step 3 of 3/);
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

test("explains itself where there is no WebGPU", async () => {
  const opened = await openPage(server.url, { webgpu: false });
  const { page, requests } = opened;
  await page.getByRole("heading", { name: "This browser cannot train here" }).waitFor();
  await page.getByRole("rowheader", { name: "Chrome and Edge" }).waitFor();
  assert.equal(await page.locator("button, input").count(), 0);
  assert.ok(!requests.some((url) => /worker|\.wasm|demo\//.test(url)), requests.join(" "));
  await opened.close();
});
