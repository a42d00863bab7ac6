// What the browser keeps between visits, with the fake engine: also what an older page has written.
import assert from "node:assert/strict";
import { download, fakePage, trainButton } from "./fake-page.mjs";
import { panel, setNumber, unzipSync } from "./harness.mjs";

const { onPage } = fakePage();

const runsPanel = (page) => panel(page, "Runs");
const button = (page, name) => page.getByRole("button", { name, exact: true });
const alpha = (page) => page.getByRole("spinbutton", { name: "Alpha", exact: true });

async function train(page, steps) {
  await setNumber(page, "Steps", steps);
  await trainButton(page).click();
  await panel(page, "Train").getByText("Done.", { exact: true }).waitFor();
}

/** The database as the version before wrote it, with one run whose settings name a module that the model does not have. */
const older = () => {
  const config = { peft_type: "LORA", base_model_name_or_path: "old/base", r: 4, lora_alpha: 7, target_modules: ["gone"] };
  const settings = { r: 4, lora_alpha: 7, lora_dropout: 0, target_modules: ["gone"], rank_pattern: {}, alpha_pattern: {}, max_steps: 3 };
  const run = {
    id: "old",
    title: "An older page’s run",
    created: 1,
    model: { info: { name: "old/base" } },
    data: { title: "old.jsonl", train: { name: "old.jsonl" } },
    device: "Old GPU",
    settings: { ...settings, learning_rate: 1e-3, per_device_train_batch_size: 2, seed: 1 },
    status: "finished",
    total_steps: 3,
    examples: 1,
    warnings: [],
    steps: [],
    evaluations: [],
    samples: [],
    seconds: 1,
    secondsHidden: 0,
    checkpoint: 3,
    bytes: { checkpoint: 4 },
  };
  const request = indexedDB.open("postil", 2);
  request.onupgradeneeded = () => {
    request.result.createObjectStore("runs", { keyPath: "id" });
    request.result.createObjectStore("files");
  };
  request.onsuccess = () => {
    const writing = request.result.transaction(["runs", "files"], "readwrite");
    writing.objectStore("runs").put(run);
    const files = {
      "adapter_config.json": new TextEncoder().encode(JSON.stringify(config)),
      "adapter_model.safetensors": new Uint8Array([1, 2, 3, 77]),
    };
    writing.objectStore("files").put(files, "old/checkpoint");
    writing.oncomplete = () => request.result.close();
  };
};

onPage("runs of an older version of the page stay, with their files", async (page) => {
  await button(page, "An older page’s run").click();
  const { name, bytes } = await download(page, "Download the last of step 3");
  assert.equal(name, "base-old-r4-step-3.zip");
  assert.deepEqual([...unzipSync(bytes)["adapter_model.safetensors"]], [1, 2, 3, 77]);
  // What the model does not have is said, and leaves no adapter without modules.
  await button(page, "Apply its settings").click();
  await page.getByText("This model has no gone: left out of the target modules.").waitFor();
  assert.equal(await page.getByRole("group", { name: "Target modules" }).getByRole("checkbox", { checked: true }).count(), 7);
  assert.equal(await alpha(page).inputValue(), "7");
}, { initScript: older });

onPage("a kept run's alpha is one that was chosen", async (page) => {
  await setNumber(page, "Rank", 4);
  await setNumber(page, "Alpha", 5);
  await train(page, 2);
  for (const act of ["Apply its settings", "Continue with more steps…"]) {
    await page.reload();
    await page.getByText("Ready.").waitFor();
    await setNumber(page, "Rank", 16);
    await setNumber(page, "Alpha", 32);
    await page.goto(page.url().replace(/#.*/, ""));
    await page.reload();
    await page.getByText("Ready.").waitFor();
    assert.equal(await alpha(page).inputValue(), "32");
    await button(page, "Plain answers, rank 4").click();
    await runsPanel(page).getByRole("button", { name: act }).click();
    if (act.startsWith("Continue")) {
      await button(page, "Continue").click();
      await panel(page, "Train").getByText("Done.", { exact: true }).waitFor();
    }
    assert.equal(await alpha(page).inputValue(), "5");
    await setNumber(page, "Rank", 6);
    assert.equal(await alpha(page).inputValue(), "5");
  }
});

/** A model from the Hub as the worker keeps it. */
const keptModel = () => {
  globalThis.kept = (async () => {
    const root = await navigator.storage.getDirectory();
    const folder = await (await root.getDirectoryHandle("hub", { create: true })).getDirectoryHandle("one", { create: true });
    const write = async (name, content) => {
      const file = await (await folder.getFileHandle(name, { create: true })).createWritable();
      await file.write(content);
      await file.close();
    };
    await write("model.safetensors", "weights");
    const files = { "model.safetensors": { size: 7 } };
    const commit = "0123456789abcdef";
    const manifest = { address: "https://huggingface.co", repo: "some/model", revisions: ["main"], commit, files, complete: true };
    await write("manifest.json", JSON.stringify(manifest));
  })();
};

onPage("a model is deleted only when that is confirmed", async (page) => {
  await page.evaluate(keptModel);
  await page.evaluate(() => globalThis.kept);
  await page.reload();
  await page.getByText("Ready.").waitFor();
  await page.locator("summary").getByText("Use another model", { exact: true }).click();
  const models = page.locator(".kept-models > ul > li");
  await models.waitFor();
  const question = page.getByText(/Delete some\/model from this browser\? Its .* would have to be downloaded again\./);
  await button(page, "Delete some/model…").click();
  await question.waitFor();
  await button(page, "Keep").click();
  await question.waitFor({ state: "detached" });
  assert.equal(await models.count(), 1);
  await button(page, "Delete some/model…").click();
  await button(page, "Delete for good").click();
  await models.waitFor({ state: "detached" });
});
