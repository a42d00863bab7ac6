// Data: what is shown of it, what is wrong with it, and how it is read, with the fake engine.
import assert from "node:assert/strict";
import { example, fakePage, trainButton, useFile } from "./fake-page.mjs";
import { file, panel, setNumber } from "./harness.mjs";

const { onPage } = fakePage();

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

onPage("without a held-out file, a share of the data is held out", async (page) => {
  const rows = Array.from({ length: 10 }, (_, row) => example(`answer ${row}`)).join("");
  const [train, sweep] = [panel(page, "Train"), panel(page, "Sweep")];
  const share = page.getByLabel("Held-out share");
  assert.equal(await share.count(), 0);
  await useFile(page, "ten.jsonl", rows);
  await sweep.getByText("hold out some data first").waitFor();
  // The default: none.
  await setNumber(page, "Steps", 3);
  await trainButton(page).click();
  await train.getByText("Done.", { exact: true }).waitFor();
  assert.equal(await train.locator(".held-out").count(), 0);

  // What cannot be one does not train.
  await share.fill("1");
  await trainButton(page).click();
  assert.equal(await share.evaluate((field) => field.validity.valid), false);
  await share.fill("0.2");
  await sweep.getByText("hold out some data first").waitFor({ state: "detached" });
  await page.waitForFunction(() => location.hash.includes("eval_split=0.2"));
  await setNumber(page, "Steps", 1_000_000);
  await trainButton(page).click();
  await train.getByText("Training on 8 examples, with 2 held out.").waitFor();
  await train.locator(".held-out").getByText(/before training/).waitFor();
  await page.getByRole("button", { name: "Stop", exact: true }).click();
  await page.getByText(/Stopped at step/).waitFor();

  // A file of its own takes its place, which the field says by not being there.
  await page.getByLabel("Held-out file (optional)").setInputFiles(file("held.jsonl", example("h")));
  await share.waitFor({ state: "detached" });
  await trainButton(page).click();
  await train.getByText("Training on 4 examples, with 2 held out.").waitFor();
  await page.getByRole("button", { name: "Stop", exact: true }).click();
  await page.getByText(/Stopped at step/).waitFor();
  await page.getByRole("button", { name: "Remove held.jsonl" }).click();
  assert.equal(await share.inputValue(), "0.2");

  // The first of the two runs goes on with its share, whatever the field says by then.
  await share.fill("0.5");
  await panel(page, "Runs").getByRole("button", { name: "ten.jsonl, rank 16 (2)", exact: true }).click();
  await panel(page, "Runs").getByRole("button", { name: "Resume", exact: true }).click();
  await train.getByText("Training on 8 examples, with 2 held out.").waitFor();
  assert.equal(await share.inputValue(), "0.2");
});
