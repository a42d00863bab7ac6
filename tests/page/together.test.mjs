// What has to go together on one loaded base, on the real engine: samples, more steps, the adapters of several runs, a conversation.
import assert from "node:assert/strict";
import { file, panel, setNumber } from "./harness.mjs";
import { done, native, realPage, same, saved, smallRun, trainButton } from "./real-page.mjs";

const { onPage } = realPage();

const STEPS = 4;
const MORE = 2;
/** High, so that so few steps show in the texts. */
const RATE = 0.05;
const TOKENS = 8;
const PROMPT = "Name a colour.\n";
const ROWS = ["red", "blue", "green", "grey", "white", "black", "brown", "pink"].map(
  (colour) => `${JSON.stringify({ prompt: PROMPT, completion: `A ${colour} one.` })}\n`,
);

const button = (page, name) => page.getByRole("button", { name, exact: true });
const compare = (page) => panel(page, "Compare");
const choice = (page) => page.getByRole("combobox", { name: "Adapter", exact: true });
const newest = (page) => compare(page).locator(".comparison").first();

/** Nothing is being written any more. */
const idle = (page) => compare(page).getByRole("button", { name: /^(Generate|Send)$/ }).waitFor();

async function finish(page) {
  await trainButton(page).click();
  await done(page);
  await idle(page);
}

async function log(page) {
  const text = await saved(page, page.getByRole("button", { name: /^Download .*log\.jsonl$/ }));
  return text.toString().trim().split("\n").map((line) => JSON.parse(line));
}

/** What base and adapter write to a prompt, or say to a message. */
async function answers(page, text) {
  await compare(page).getByLabel(/^(Prompt|Message)$/).fill(text);
  await compare(page).getByRole("button", { name: /^(Generate|Send)$/ }).click();
  await idle(page);
  return await newest(page).locator(".turn").last().locator(".written").allTextContents();
}

onPage("data of one's own, samples, more steps, the adapters of two runs and a conversation", async (page, { requests }, t) => {
  await smallRun(page, { steps: STEPS, evalSteps: 2, tokens: TOKENS });
  await page.getByRole("radio", { name: /Your own file/ }).check();
  await page.getByLabel("Training file").setInputFiles(file("colours.jsonl", ROWS.join("")));
  await panel(page, "Data").getByText("8 examples of").waitFor();
  await page.getByLabel("Held-out share").fill("0.25");
  await page.getByLabel("Prompt", { exact: true }).fill(PROMPT);
  await setNumber(page, "Learning rate", RATE);
  await setNumber(page, "Temperature", 0);
  await setNumber(page, "Sample every", 2);
  await setNumber(page, "Sample length", TOKENS);
  const weights = () => requests.filter((url) => url.endsWith("/model.safetensors")).length;
  const before = weights();
  const [worker] = page.workers();
  /** By run, what its adapter writes to the prompt. */
  const texts = {};

  await t.test("a share is held out, the binary's; samples are what the base and the adapter write", async () => {
    await trainButton(page).click();
    await page.getByText("Training on 6 examples, with 2 held out.").waitFor();
    await done(page);
    await idle(page);
    const [found, expected] = [await log(page), await native(page, { "colours.jsonl": ROWS.join("") })];
    assert.deepEqual(expected.map(({ step }) => step), [1, 2, 3, 4]);
    for (const [i, { step, loss, eval_loss }] of expected.entries()) {
      same(found[i].loss, loss, `step ${step}`);
      assert.equal(eval_loss !== undefined, step % 2 === 0);
      if (eval_loss !== undefined) same(found[i].eval_loss, eval_loss, `held-out loss of step ${step}`);
    }
    const items = panel(page, "Train").getByRole("region", { name: "Samples" }).locator("li");
    const sample = async (item) => await item.locator(".timeline-text").textContent();
    assert.match(await items.first().textContent(), /^Before training/);
    assert.match(await items.last().textContent(), new RegExp(`^Steps? (\\d–)?${STEPS}`));
    const [base, tuned] = await answers(page, PROMPT);
    assert.deepEqual([await sample(items.first()), await sample(items.last())], [base, tuned]);
    assert.notEqual(tuned, base);
    texts.first = tuned;
  });

  await t.test("a run goes on for more steps, at the rate that it then has", async () => {
    const planned = await log(page);
    await button(page, "Continue with more steps…").first().click();
    await setNumber(page, "More steps", MORE);
    await button(page, "Continue").click();
    await page.locator(".figures dd").getByText(`${STEPS + MORE} of ${STEPS + MORE}`, { exact: true }).waitFor();
    await done(page);
    await idle(page);
    const all = await log(page);
    assert.deepEqual(all.map(({ step }) => step), Array.from({ length: STEPS + MORE }, (_, i) => i + 1));
    const figures = ({ step, loss, lr, grad_norm }) => [step, loss, lr, grad_norm];
    assert.deepEqual(all.slice(0, STEPS).map(figures), planned.map(figures));
    // The cosine of a run of that length, with smallRun's warm-up.
    const warmup = 2;
    for (const { step, lr } of all.slice(STEPS)) {
      const expected = (RATE / 2) * (1 + Math.cos((Math.PI * (step - 1 - warmup)) / (STEPS + MORE - warmup)));
      assert.ok(Math.abs(lr - expected) < 1e-9, `step ${step}: ${lr}, not ${expected}`);
    }
    assert.ok(all.at(-1).eval_loss < all[1].eval_loss);
    texts.first = (await answers(page, PROMPT))[1];
  });

  await t.test("adapters of two runs are changed between, and the base is not loaded again", async () => {
    await setNumber(page, "Rank", 2);
    await finish(page);
    texts.second = (await answers(page, PROMPT))[1];
    assert.notEqual(texts.second, texts.first);
    const written = newest(page).locator(".side.tuned .written");
    for (const [run, rank] of [["first", 4], ["second", 2], ["first", 4]]) {
      const title = await choice(page).locator("option", { hasText: new RegExp(`rank ${rank}(?!.*best)`) }).first().textContent();
      await choice(page).selectOption({ label: title });
      await newest(page).locator(".side.tuned").getByText(title, { exact: true }).waitFor();
      await newest(page).locator(".side.tuned").getByText(/\d+ tokens, /).waitFor();
      await idle(page);
      assert.equal(await written.textContent(), texts[run], title);
    }
    assert.equal(weights(), before);
    assert.deepEqual(page.workers(), [worker]);
  });

  await t.test("a conversation is what the model's template makes of it, on each side with its own answers", async () => {
    const asked = ["Tell a story.", "Another one."];
    await page.getByRole("checkbox", { name: "Chat", exact: true }).check();
    const said = [await answers(page, asked[0]), await answers(page, asked[1])];
    assert.equal(await newest(page).locator(".turn").count(), 2);
    assert.notEqual(said[0][0], said[0][1]);
    // The same by hand, as a text to go on with.
    await page.getByRole("checkbox", { name: "Chat", exact: true }).uncheck();
    const user = (text) => `<|im_start|>user\n${text}<|im_end|>\n<|im_start|>assistant\n`;
    assert.deepEqual(await answers(page, user(asked[0])), said[0]);
    for (const side of [0, 1]) {
      const whole = `${user(asked[0])}${said[0][side]}<|im_end|>\n${user(asked[1])}`;
      assert.equal((await answers(page, whole))[side], said[1][side]);
    }
  });
});
