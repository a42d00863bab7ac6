// Comparing and downloading, with the fake engine.
import assert from "node:assert/strict";
import { download, example, fakePage, trainButton, useFile } from "./fake-page.mjs";
import { file, panel, setNumber, unnamed } from "./harness.mjs";

const { onPage } = fakePage();

async function train(page, steps = 3) {
  await setNumber(page, "Steps", steps);
  await trainButton(page).click();
  await panel(page, "Train").getByText("Done.", { exact: true }).waitFor();
  await idle(page);
}

const sendButton = (page) => panel(page, "Compare").getByRole("button", { name: /^(Generate|Send)$/ });
/** Nothing is being written. */
const idle = (page) => sendButton(page).waitFor();

async function shortTexts(page, tokens = 6) {
  await page.getByText("Sampling").click();
  await setNumber(page, "Maximum tokens", tokens);
}

const adapterFiles = (name, word) => [
  file("adapter_config.json", JSON.stringify({ r: 8, lora_alpha: 16, target_modules: ["q_proj"], word })),
  file(`${name}.safetensors`, "abcd"),
];

const bring = async (page, name, word) => {
  if (!(await page.getByLabel("Files of an adapter to compare with").isVisible())) {
    await page.getByText("Bring an adapter").click();
  }
  await page.getByLabel("Files of an adapter to compare with").setInputFiles(adapterFiles(name, word));
};

const newest = (page) => panel(page, "Compare").locator(".comparison").first();
const text = (page, side) => newest(page).locator(side === "tuned" ? ".side.tuned" : ".side:not(.tuned)").last().locator(".written");

onPage("the adapter's strength acts at once, and 0 % is the base", async (page) => {
  await shortTexts(page);
  await train(page);
  await sendButton(page).click();
  await newest(page).locator(".side.tuned").getByText(/6 tokens/).waitFor();
  await idle(page);
  const count = await page.locator(".comparison").count();
  const slider = page.getByRole("slider", { name: /Adapter’s strength/ });
  const base = await text(page, "base").textContent();
  assert.notEqual(await text(page, "tuned").textContent(), base);

  await slider.fill("0");
  await newest(page).locator(".side.tuned").getByText(/rank 16, at 0/).waitFor();
  await newest(page).locator(".side.tuned").getByText(/6 tokens/).waitFor();
  assert.equal(await text(page, "tuned").textContent(), base);

  await slider.fill("150");
  await text(page, "tuned").getByText(/strongly/).waitFor();
  await newest(page).locator(".side.tuned").getByText(/at 150/).waitFor();
  await idle(page);
  // The same comparison, written again.
  assert.equal(await page.locator(".comparison").count(), count);
  // From the keyboard, too.
  await slider.focus();
  await page.keyboard.press("Home");
  await newest(page).locator(".side.tuned").getByText(/at 0/).waitFor();
  await idle(page);
  assert.equal(await text(page, "tuned").textContent(), base);
});

onPage("moving the strength ends the text in progress, and the last position counts", async (page) => {
  await shortTexts(page, 200);
  await bring(page, "own", "verse");
  await sendButton(page).click();
  await text(page, "base").getByText("base answer base").waitFor();
  await newest(page).locator(".side.tuned").getByText("verse <b>").waitFor();
  const slider = page.getByRole("slider", { name: /Adapter’s strength/ });
  // What gives way is not shown as if it had been stopped.
  await newest(page).evaluate((comparison) => {
    window.stopped = 0;
    const look = () => (window.stopped += /stopped/.test(comparison.textContent) ? 1 : 0);
    new MutationObserver(look).observe(comparison, { characterData: true, childList: true, subtree: true });
  });
  for (const position of ["150", "50", "0"]) await slider.fill(position);
  await newest(page).locator(".side.tuned").getByText(/at 0/).waitFor();
  await text(page, "tuned").getByText("base answer").waitFor();
  assert.doesNotMatch(await text(page, "tuned").textContent(), /verse|strongly/);
  assert.equal(await page.evaluate(() => window.stopped), 0);
  await page.getByRole("button", { name: "Stop writing" }).click();
  await newest(page).locator(".side.tuned").getByText(/stopped \d+ tokens/).waitFor();
});

onPage("changes between adapters on the base that is loaded", async (page) => {
  await shortTexts(page);
  await bring(page, "verses", "verse");
  const select = page.getByRole("combobox", { name: "Adapter", exact: true });
  await select.locator("option", { hasText: "verses.safetensors" }).waitFor({ state: "attached" });
  await sendButton(page).click();
  await newest(page).locator(".side.tuned").getByText(/6 tokens/).waitFor();
  await idle(page);
  assert.match(await text(page, "tuned").textContent(), /^verse/);
  await bring(page, "proses", "prose");
  // What was written last is written again with it.
  await text(page, "tuned").getByText(/^prose/).waitFor();
  await idle(page);
  await select.selectOption({ label: "verses.safetensors" });
  await text(page, "tuned").getByText(/^verse/).waitFor();
  await newest(page).locator(".side.tuned").getByText("verses.safetensors").waitFor();
  assert.equal(await page.locator(".comparison").count(), 1);
  // For comparing only: training starts anew.
  assert.equal(await page.getByText(/Training goes on from/).count(), 0);
});

onPage("an adapter that does not fit is refused, and the chosen one stays", async (page) => {
  await bring(page, "own", "verse");
  const select = page.getByRole("combobox", { name: "Adapter", exact: true });
  await select.locator("option", { hasText: "own.safetensors" }).waitFor({ state: "attached" });
  const config = JSON.stringify({ r: 128 });
  await page
    .getByLabel("Files of an adapter to compare with")
    .setInputFiles([file("adapter_config.json", config), file("big.safetensors", "x")]);
  await panel(page, "Compare").getByRole("alert").getByText("expected [128, 64]").waitFor();
  assert.equal(await select.locator("option:checked").textContent(), "own.safetensors");
});

onPage("offers the best copy of the run beside the last", async (page) => {
  await page.getByText("Advanced").click();
  await setNumber(page, "Evaluate every", 2);
  await shortTexts(page);
  await useFile(page, "overfitted.jsonl", example("a"));
  await page.getByLabel("Held-out file (optional)").setInputFiles(file("eval.jsonl", example("b")));
  await panel(page, "Data").getByText("Held-out data").waitFor();
  await page.getByLabel("Prompt", { exact: true }).fill("What?");
  await train(page, 9);
  await newest(page).locator(".side.tuned").getByText(/6 tokens/).waitFor();
  await idle(page);
  const select = page.getByRole("combobox", { name: "Adapter", exact: true });
  const best = "overfitted.jsonl, rank 16, best, step 4";
  await select.selectOption({ label: best });
  await newest(page).locator(".side.tuned").getByText(best).waitFor();
  await newest(page).locator(".side.tuned").getByText(/6 tokens/).waitFor();
});

onPage("a chat keeps a conversation for each side", async (page) => {
  await shortTexts(page, 10);
  await bring(page, "own", "verse");
  await page.getByRole("checkbox", { name: "Chat" }).check();
  await page.getByLabel("System message (optional)").fill("System rules");
  const message = page.getByLabel("Message", { exact: true });
  await message.fill("First question");
  await page.keyboard.press("Control+Enter");
  await newest(page).locator(".side.tuned").getByText(/10 tokens/).waitFor();
  await idle(page);
  assert.equal(await message.inputValue(), "");
  assert.match(await text(page, "base").textContent(), /^base answer s:System u:First seed:0/);

  await message.fill("Second question");
  await sendButton(page).click();
  await newest(page).locator(".side.tuned").nth(1).getByText(/10 tokens/).waitFor();
  await idle(page);
  // Each side remembers its own answer.
  assert.match(await text(page, "base").textContent(), /^base answer s:System u:First a:base u:Second seed:0/);
  assert.match(await text(page, "tuned").textContent(), /^verse <b>answer<\/b> s:System u:First a:verse u:Second seed:0/);
  assert.equal(await page.locator(".comparison").count(), 1);
  assert.deepEqual(await unnamed(page), []);

  // Retry takes another seed; the slider acts on the last answer.
  await page.getByRole("button", { name: /^Retry/ }).click();
  await text(page, "tuned").getByText(/seed:1/).waitFor();
  await idle(page);
  assert.match(await text(page, "base").textContent(), /seed:1/);
  assert.match(await newest(page).locator(".written").first().textContent(), /seed:0/);
  await page.getByRole("slider", { name: /Adapter’s strength/ }).fill("0");
  await text(page, "tuned").getByText(/^base answer s:System u:First a:verse u:Second seed:1/).waitFor();
  await idle(page);

  await page.getByRole("button", { name: "Edit the last message" }).click();
  assert.equal(await message.inputValue(), "Second question");
  assert.equal(await newest(page).locator(".turn").count(), 1);
  await message.fill("Other question");
  await sendButton(page).click();
  await text(page, "base").getByText(/u:First a:base u:Other/).waitFor();
  await idle(page);

  await page.getByRole("button", { name: "New conversation" }).click();
  await message.fill("Fresh start");
  await sendButton(page).click();
  await text(page, "base").getByText(/^base answer s:System u:Fresh seed:1/).waitFor();
  await idle(page);
  assert.equal(await page.locator(".comparison").count(), 2);

  await page.getByText("Earlier prompts").first().click();
  const earlier = page.getByRole("group", { name: "Earlier prompts" }).getByRole("button");
  assert.deepEqual(await earlier.allTextContents(), ["Fresh start", "Other question", "Second question", "First question"]);
  await earlier.nth(3).click();
  assert.equal(await message.inputValue(), "First question");
  await page.getByRole("button", { name: "Clear all" }).click();
  assert.equal(await page.locator(".comparison").count(), 0);
});

onPage("marks differences when asked, by more than colour, and copies texts", async (page) => {
  await page.evaluate(() => {
    window.copied = [];
    navigator.clipboard.writeText = async (text) => void window.copied.push(text);
  });
  await shortTexts(page);
  await bring(page, "own", "verse");
  await sendButton(page).click();
  await newest(page).locator(".side.tuned").getByText(/6 tokens/).waitFor();
  await idle(page);
  assert.equal(await page.locator("mark.differs").count(), 0);
  const plain = await text(page, "tuned").textContent();
  await page.getByRole("checkbox", { name: "Mark differences" }).check();
  // What finds them is fetched first.
  await text(page, "tuned").locator("mark.differs").first().waitFor();
  const words = async (side) => await text(page, side).locator("mark.differs").allTextContents();
  assert.ok((await words("base")).some((word) => /only here: base/.test(word)), String(await words("base")));
  assert.ok((await words("tuned")).some((word) => /only here: verse/.test(word)), String(await words("tuned")));
  const mark = text(page, "tuned").locator("mark.differs").first();
  assert.match(await mark.evaluate((element) => getComputedStyle(element).textDecorationLine), /underline/);
  // Model text stays text.
  assert.equal(await page.locator(".written b").count(), 0);
  await page.getByRole("slider", { name: /Adapter’s strength/ }).fill("0");
  await newest(page).getByText("the same text as the base’s").waitFor();
  assert.equal(await page.locator("mark.differs").count(), 0);

  await page.getByRole("slider", { name: /Adapter’s strength/ }).fill("100");
  await text(page, "tuned").getByText(/verse/).first().waitFor();
  await idle(page);
  await page.getByRole("button", { name: "Copy the tuned text" }).first().click();
  await page.getByRole("button", { name: "Copied the tuned text" }).waitFor();
  assert.deepEqual(await page.evaluate(() => window.copied), [plain]);
});

onPage("the strength acts during a run too, between its steps", async (page) => {
  await shortTexts(page);
  await setNumber(page, "Steps", 5000);
  await trainButton(page).click();
  await page.getByText(/Training on 4 examples/).waitFor();
  await sendButton(page).click();
  await newest(page).locator(".side.tuned").getByText(/6 tokens/).waitFor();
  await page.getByRole("slider", { name: /Adapter’s strength/ }).fill("0");
  await newest(page).locator(".side.tuned").getByText(/at 0/).waitFor();
  await newest(page).locator(".side.tuned").getByText(/6 tokens/).waitFor();
  assert.equal(await text(page, "tuned").textContent(), await text(page, "base").textContent());
  const step = async () => Number((await page.locator(".figures dd").first().textContent()).split(" ")[0]);
  const then = await step();
  await page.waitForFunction((then) => Number(document.querySelector(".figures dd").textContent.split(" ")[0]) > then, then);
});

onPage("compares while a run is paused, which then goes on from where it was", async (page) => {
  await shortTexts(page);
  await setNumber(page, "Steps", 5000);
  await trainButton(page).click();
  await page.getByText(/Training on 4 examples/).waitFor();
  await panel(page, "Train").getByRole("button", { name: "Pause" }).click();
  await panel(page, "Train").getByText(/Paused at step \d+/).waitFor();
  const step = async () => Number((await page.locator(".figures dd").first().textContent()).split(" ")[0]);
  const then = await step();
  await sendButton(page).click();
  await newest(page).locator(".side.tuned").getByText(/6 tokens/).waitFor();
  await page.getByRole("slider", { name: /Adapter’s strength/ }).fill("0");
  await newest(page).locator(".side.tuned").getByText(/at 0/).waitFor();
  await idle(page);
  assert.equal(await text(page, "tuned").textContent(), await text(page, "base").textContent());
  // What is in memory has not moved: the file is checked against it.
  await download(page, /^Download PEFT adapter/);
  await panel(page, "Download").getByText(/checked: same logits as the adapter in memory/).waitFor();
  assert.equal(await step(), then);
  await panel(page, "Train").getByRole("button", { name: "Go on" }).click();
  await page.waitForFunction((then) => Number(document.querySelector(".figures dd").textContent.split(" ")[0]) > then, then);
});

onPage("fits a phone, with a conversation", async (page) => {
  await shortTexts(page);
  await bring(page, "a-very-long-name-of-an-adapter-that-somebody-brings-along", "verse");
  await page.getByRole("checkbox", { name: "Chat" }).check();
  await page.getByLabel("Message", { exact: true }).fill("word".repeat(60));
  await sendButton(page).click();
  await newest(page).locator(".side.tuned").getByText(/6 tokens/).waitFor();
  await page.getByRole("checkbox", { name: "Mark differences" }).check();
  const { scroll, client } = await page.evaluate(() => ({
    scroll: document.documentElement.scrollWidth,
    client: document.documentElement.clientWidth,
  }));
  assert.ok(scroll <= client, `${scroll} > ${client}`);
}, { viewport: { width: 375, height: 740 }, colorScheme: "dark" });

onPage("whether there is a conversation is in the address, until other data is chosen", async (page) => {
  const chat = page.getByRole("checkbox", { name: "Chat", exact: true });
  const isSettled = (hash) => page.waitForFunction((hash) => location.hash === hash, hash);
  assert.equal(await chat.isChecked(), false);
  await chat.check();
  await isSettled("#v=1&chat=true");
  // Off by one's own word is not the same as by default.
  await chat.uncheck();
  await isSettled("#v=1&chat=false");
  await page.evaluate(() => (location.hash = "#v=1&data=markup&chat=true"));
  await page.getByRole("radio", { name: /Markup/, checked: true }).waitFor();
  await page.waitForTimeout(500);
  assert.match(page.url(), /#v=1&data=markup&chat=true$/);
  await page.reload();
  await page.getByText("Ready.").waitFor();
  assert.ok(await chat.isChecked());
  await page.getByRole("radio", { name: /Plain/ }).check();
  await isSettled("");
  assert.equal(await chat.isChecked(), false);
});
