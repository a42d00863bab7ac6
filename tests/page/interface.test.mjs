// What the page does around the engine, with a fake one: errors and moments that the real one does not show on demand.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { example, fakePage, trainButton, useFile } from "./fake-page.mjs";
import { file, panel, setNumber, unnamed, unzipSync, zipSync } from "./harness.mjs";

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

onPage("shows a field that is wrong, even in a closed section", async (page) => {
  await page.getByText("Advanced").click();
  await setNumber(page, "Accumulation", 0);
  await page.getByText("Advanced").click();
  await trainButton(page).click();
  await page.getByLabel("Accumulation").waitFor({ state: "visible" });
  await page.getByText("Ready.").waitFor();
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

onPage("what the user chose and wrote is in no address", async (page, { requests }) => {
  await useFile(page, "secretname.jsonl", example("secretdata"));
  await page.getByLabel("Prompt", { exact: true }).fill("secretprompt");
  await page.getByRole("button", { name: "Generate" }).click();
  await page.getByText("base answer").waitFor();
  await page.getByText("Use another model").click();
  await page.context().route("https://huggingface.co/**", (route) => route.fulfill({ status: 404 }));
  await page.getByLabel("Model name").fill("owner/named");
  await page.getByLabel("Access token (optional)").fill("secrettoken");
  await page.getByRole("button", { name: "Generate" }).waitFor();
  await page.getByRole("button", { name: "Load from the Hub" }).click();
  await panel(page, "Model").getByRole("alert").waitFor();
  const addresses = [...requests, page.url(), ...(await page.evaluate(() => Object.keys(localStorage)))];
  assert.ok(addresses.some((address) => address.includes("owner/named")), addresses.join(" "));
  assert.deepEqual(addresses.filter((address) => /secret/i.test(decodeURIComponent(address))), []);
}, { expected: /Failed to load resource|blocked by CORS/, origins: ["https://huggingface.co"] });

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
  // Its settings are its own.
  const adapter = panel(page, "Adapter");
  await adapter.getByText("Rank, alpha, dropout and modules are those of adapter.zip").waitFor();
  const fields = adapter.getByRole("group", { name: "Adapter settings" });
  assert.equal(await fields.locator("input:enabled, button:enabled").count(), 0);
  await adapter.getByText("8,192 trainable parameters").waitFor();
  await page.getByRole("button", { name: "Generate" }).click();
  await page.locator(".side.tuned").getByText("tuned").first().waitFor();
  await page.getByRole("button", { name: "Generate" }).waitFor();
  await setNumber(page, "Steps", 3);
  await trainButton(page).click();
  await page.getByText("training goes on from an adapter").waitFor();
});

onPage("of an adapter to start from nothing is changed, and no more is said than the settings can say", async (page) => {
  const adapter = panel(page, "Adapter");
  const start = async (config) => {
    await page.getByLabel("Adapter files").setInputFiles([file("adapter_config.json", JSON.stringify(config)), file("mine.safetensors", "x")]);
    await adapter.getByText(/Training goes on from mine.safetensors/).waitFor();
  };
  const anew = page.getByRole("button", { name: "Start anew instead" });
  const rank = page.getByLabel("Rank", { exact: true });
  await page.getByText("Start from an existing adapter").click();
  await setNumber(page, "Dropout", 0.1);
  await start({ target_modules: ["q_proj"], layers_to_transform: [1] });
  await adapter.getByText("trainable parameters").waitFor({ state: "detached" });
  assert.equal(await rank.inputValue(), "8");
  assert.equal(await page.getByLabel("Dropout", { exact: true }).inputValue(), "0");
  // Nor by a run file.
  await page.getByLabel("Open a run file").setInputFiles(file("run.json", JSON.stringify({ postil: 1, data: { train: "mine.csv" }, lora: { r: 4 } })));
  await page.getByText("Training starts from mine.safetensors, whose rank, alpha, dropout and modules stay.").waitFor();
  assert.equal(await rank.inputValue(), "8");
  await anew.click();
  await adapter.getByText("trainable parameters").waitFor();
  await setNumber(page, "Rank", 4);
  assert.equal(await rank.inputValue(), "4");
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
