// Models by name, kept models and models from the disk, with a server that behaves as the Hub and a fake engine that reads
// all there is of a model and shows its check sum as the hidden size.
import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { build, closeBrowser, file, here, openPage, panel, remove, serve, setNumber, unnamed } from "./harness.mjs";
import { COMMIT, startHub, TOKEN } from "./hub-server.mjs";

const REPO = "owner/story-model";
/** What the browser itself says of a refusal or of a broken connection. */
const EXPECTED = /Failed to load resource|net::ERR/;
const MIB = 2 ** 20;

let folder;
let server;
let texts;

before(async () => {
  // Every port of this machine: the servers of the tests get theirs later.
  process.env.VITE_HUB_ADDRESS = "http://127.0.0.1:1";
  process.env.VITE_HUB_ORIGINS = "http://127.0.0.1:*";
  folder = await build({ fake: true });
  server = await serve([folder]);
  const read = async (name) => await readFile(join(here, "fake/public/demo", name));
  texts = {
    "config.json": Buffer.from(JSON.stringify({ ...JSON.parse(await read("config.json")), check_sum: true })),
    "tokenizer.json": await read("tokenizer.json"),
    "tokenizer_config.json": await read("tokenizer_config.json"),
  };
});

after(async () => {
  delete process.env.VITE_HUB_ADDRESS;
  delete process.env.VITE_HUB_ORIGINS;
  await closeBrowser();
  server?.close();
  if (folder) await remove(folder);
});

function randomBytes(length) {
  const words = new Uint32Array(Math.ceil(length / 4));
  for (let i = 0, word = 12345; i < words.length; i++) words[i] = word = (Math.imul(word, 1664525) + 1013904223) >>> 0;
  return Buffer.from(words.buffer, 0, length);
}

const checkSum = (...parts) => parts.reduce((sum, part) => part.reduce((s, byte) => (s * 31 + byte) % 1_000_003, sum), 7);
const shown = (...parts) => `Hidden size${checkSum(...parts).toLocaleString("en")}`;

/** Runs a test on a fresh page beside a Hub with one model. */
function onPage(name, act, { weights = randomBytes(3 * MIB), ...options } = {}) {
  test(name, { timeout: 600_000 }, async () => {
    const hub = await startHub({ [REPO]: { ...texts, "model.safetensors": weights } });
    const opened = await openPage(server.url, { share: true, origins: hub.origins, expected: EXPECTED, ...options });
    try {
      await opened.page.getByText("Ready.").waitFor();
      await open(opened.page, hub);
      await act(opened.page, hub, weights, opened);
    } catch (error) {
      const seen = await panel(opened.page, "Model").textContent().catch(() => "");
      await opened.close().catch(() => {});
      throw new Error(`${error.message}\non the page: ${seen}`, { cause: error });
    } finally {
      await hub.close();
    }
    await opened.close();
  });
}

const model = (page) => panel(page, "Model");
const facts = (page) => model(page).locator(".facts");
const load = (page) => page.getByRole("button", { name: "Load from the Hub" });
const says = async (page, text) => await model(page).locator(".notice").getByText(text).waitFor();

async function open(page, hub) {
  await page.getByText("Use another model").click();
  await page.getByText("Another Hub").click();
  await page.getByLabel("Hub address").fill(hub.address);
}

async function ask(page, name) {
  await page.getByLabel("Model name").fill(name);
  await load(page).click();
}

async function loaded(page, ...parts) {
  await facts(page).getByText(shown(...parts)).or(facts(page).filter({ hasText: shown(...parts) })).first().waitFor();
}

onPage("a model that is too large for the GPU is refused before it is downloaded", async (page, hub, weights) => {
  const name = await model(page).locator(".model-name").textContent();
  await setNumber(page, "Memory budget (GiB)", 2 / 1024);
  await ask(page, REPO);
  await says(page, /needs 3145728 bytes of GPU memory.*Memory budget, under Train/);
  // Its size was asked for, and no more.
  assert.equal(hub.state.storage.length, 1);
  assert.equal(await model(page).locator(".model-name").textContent(), name);
  assert.equal(await model(page).locator(".kept-models").count(), 0);
  await setNumber(page, "Memory budget (GiB)", 1);
  await ask(page, REPO);
  await loaded(page, weights);
});

onPage("a model is downloaded once, kept, listed, and deleted", async (page, hub, weights) => {
  await ask(page, REPO);
  await loaded(page, weights);
  assert.equal(await model(page).locator(".model-name").textContent(), REPO);
  const kept = model(page).locator(".kept-models li");
  assert.match(await kept.textContent(), new RegExp(`${REPO} 3\\.\\d MiB, commit ${COMMIT.slice(0, 7)}`));
  assert.deepEqual(await unnamed(page), []);

  // The branch has not moved: one question, no file.
  hub.state.hub.length = hub.state.storage.length = 0;
  await ask(page, REPO);
  await page.getByText("Ready.").waitFor();
  await loaded(page, weights);
  assert.deepEqual([hub.state.hub.length, hub.state.storage.length], [1, 0]);

  // A new visit, and no Hub.
  await hub.close();
  await page.reload();
  await page.getByText("Ready.").waitFor();
  await open(page, hub);
  await page.getByRole("button", { name: `Load ${REPO}`, exact: true }).click();
  await loaded(page, weights);
  await ask(page, REPO);
  await says(page, /cannot be reached.* The copy kept in this browser is used/);
  await loaded(page, weights);

  await page.getByRole("button", { name: `Delete ${REPO}…`, exact: true }).click();
  await page.getByText(`Delete ${REPO} from this browser?`).waitFor();
  await page.getByRole("button", { name: "Delete for good" }).click();
  await kept.waitFor({ state: "detached" });
  await ask(page, REPO);
  await says(page, /cannot be reached/);
  // The model that was there before goes on.
  await loaded(page, weights);
});

onPage("without the Hub a branch is what it stood for when it was last asked about", async (page, hub, weights) => {
  const newer = randomBytes(2 * MIB);
  const moveTo = async (commit, bytes) => {
    hub.state.away = false;
    hub.state.commit = commit;
    hub.state.files[REPO]["model.safetensors"] = bytes;
    await ask(page, REPO);
    await loaded(page, bytes);
    // Another one, so that what is loaded next shows.
    await page.getByLabel("Model files").setInputFiles([file("between.gguf", "between")]);
    await loaded(page, Buffer.from("between"));
    hub.state.away = true;
    await ask(page, REPO);
    await says(page, /cannot be reached.* The copy kept in this browser is used/);
    await loaded(page, bytes);
  };
  const other = COMMIT.replace(/^0/, "f");
  await moveTo(COMMIT, weights);
  await moveTo(other, newer);
  // The branch goes back: what is kept of that commit is its newest now.
  hub.state.storage.length = 0;
  await moveTo(COMMIT, weights);
  assert.equal(hub.state.storage.length, 0);
  const names = await model(page).locator(".kept-name").evaluateAll((list) => list.map(({ firstChild }) => firstChild.data.trim()));
  assert.deepEqual(names.filter((name) => name.startsWith(REPO)), [REPO, `${REPO}@${other}`]);
});

onPage("a connection that breaks goes on from there", async (page, hub, weights) => {
  hub.state.drops = 2;
  await ask(page, `${REPO}@refs/pr/1`);
  await loaded(page, weights);
  const half = weights.length / 2;
  const ranges = hub.state.storage.map(({ headers }) => headers.range);
  const last = weights.length - 1;
  assert.deepEqual(ranges, ["bytes=0-0", `bytes=0-${last}`, `bytes=${half}-${last}`, `bytes=${half + half / 2}-${last}`]);
});

onPage("a server without ranges sends everything", async (page, hub, weights) => {
  hub.state.ignoresRanges = true;
  hub.state.drops = 1;
  await ask(page, REPO);
  await loaded(page, weights);
});

onPage(
  "a download that is cancelled goes on later",
  async (page, hub, weights) => {
    hub.state.stallsFrom = 16 * MIB;
    await ask(page, REPO);
    await model(page).getByText(/16\.\d MiB of 40\.0 MiB, .*\/s, .* left/).waitFor();
    await page.getByRole("button", { name: "Cancel" }).click();
    await says(page, "Loading was cancelled.");
    await page.getByText("Ready.").waitFor();
    await model(page).getByText(/not whole: load it by its name to go on/).waitFor();
    hub.state.stallsFrom = Infinity;
    hub.state.storage.length = 0;
    await ask(page, REPO);
    await loaded(page, weights);
    const ranges = hub.state.storage.map(({ headers }) => headers.range).sort();
    const last = weights.length - 1;
    assert.deepEqual(ranges, ["bytes=0-0", `bytes=${16 * MIB}-${32 * MIB - 1}`, `bytes=${32 * MIB}-${last}`]);
  },
  { weights: randomBytes(40 * MIB) },
);

onPage("without room the model is read from the Hub, and that is said", async (page, hub, weights) => {
  const session = await page.context().newCDPSession(page);
  await session.send("Storage.overrideQuotaForOrigin", { origin: new URL(server.url).origin, quotaSize: 2 * MIB });
  await ask(page, REPO);
  await says(page, /no room for it in this browser: the model is not kept/);
  await loaded(page, weights);
  assert.equal(await model(page).locator(".kept-models").count(), 0);
});

onPage("gated models need the token, which goes nowhere else", async (page, hub, weights) => {
  hub.state.gated.add(REPO);
  await ask(page, REPO);
  await says(page, `${REPO} is gated: accept its terms at ${hub.address}/${REPO} and give a token of that account here.`);
  const token = page.getByLabel("Access token (optional)");
  assert.equal(await token.getAttribute("type"), "password");
  await token.fill("hf_wrong");
  await load(page).click();
  await says(page, /check that the token belongs to the account that did/);
  await token.fill(TOKEN);
  await load(page).click();
  await loaded(page, weights);
  assert.ok(hub.state.storage.length > 0);
  assert.ok(hub.state.storage.every(({ headers }) => !headers.authorization));
  assert.ok([...hub.state.hub, ...hub.state.storage].every(({ url }) => !url.includes("hf_")));
  const stored = await page.evaluate(async () => {
    const names = [];
    const walk = async (folder) => {
      for await (const [name, handle] of folder.entries()) {
        names.push(name);
        if (handle.kind === "directory") await walk(handle);
        else names.push((await (await handle.getFile()).slice(0, 1 << 16).text()).slice(0, 1 << 16));
      }
    };
    await walk(await navigator.storage.getDirectory());
    return JSON.stringify([names, { ...localStorage }, { ...sessionStorage }, location.href, document.cookie]);
  });
  assert.ok(stored.includes(COMMIT) && !stored.includes(TOKEN));
  await page.reload();
  await page.getByText("Use another model").click();
  assert.equal(await token.inputValue(), "");
});

onPage("what is missing is named, and the model before stays", async (page, hub) => {
  await ask(page, "owner/nothing");
  await says(page, `${hub.address} has no public model owner/nothing: check the name`);
  await ask(page, `${REPO}@v9`);
  await says(page, `${REPO} has no revision “v9”.`);
  await ask(page, `${REPO}/absent.gguf`);
  await says(page, `${REPO} has no absent.gguf at “main”.`);
  await ask(page, "no name");
  await says(page, "Write the name as owner/name");
  await page.getByLabel("Hub address").fill("huggingface");
  await ask(page, REPO);
  await says(page, "The Hub’s address is no address of the web");
  await page.getByText("Ready.").waitFor();
});

onPage("models in several files, from the Hub and from the disk", async (page, hub, weights) => {
  const parts = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
  const index = JSON.stringify({ metadata: {}, weight_map: { a: parts[0], b: parts[1], c: parts[0] } });
  const [first, second] = [randomBytes(2 * MIB), randomBytes(MIB + 1)];
  const files = { ...texts, "model.safetensors.index.json": Buffer.from(index), [parts[0]]: first, [parts[1]]: second };
  // A small file that a model need not have comes along from everywhere.
  const map = Buffer.from('{"eos_token": "<|endoftext|>"}');
  files["special_tokens_map.json"] = map;
  const sharded = await startHub({ [REPO]: files });
  await page.getByLabel("Hub address").fill(sharded.address);
  await ask(page, REPO);
  await loaded(page, first, second, map);
  await sharded.close();

  const disk = Object.entries(files).map(([name, content]) => file(name, content));
  const chooser = page.getByLabel("Model files");
  await chooser.setInputFiles(disk.filter(({ name }) => name !== parts[1]));
  await says(page, `Missing: ${parts[1]}. Choose the files of one model together.`);
  await chooser.setInputFiles(disk);
  await loaded(page, first, second, map);
  await chooser.setInputFiles([file("tiny.gguf", weights)]);
  await loaded(page, weights);
  assert.equal(await model(page).locator(".model-name").textContent(), "tiny.gguf");
  // As Ollama keeps them: only their first bytes tell.
  const blob = Buffer.concat([Buffer.from("GGUF"), weights]);
  await chooser.setInputFiles([file("sha256-0f4c", blob)]);
  await loaded(page, blob);
  assert.equal(await model(page).locator(".model-name").textContent(), "sha256-0f4c");
  await chooser.setInputFiles([file("sha256-0f4c", weights)]);
  await says(page, "Missing: config.json, tokenizer.json, model.safetensors. Choose the files of one model together.");

  const root = await mkdtemp(join(tmpdir(), "postil-folder-"));
  const folder = join(root, "my-model");
  await mkdir(join(folder, "checkpoint-1"), { recursive: true });
  for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), content);
  await writeFile(join(folder, "checkpoint-1", parts[0]), "of another model");
  await page.getByLabel("or their folder").setInputFiles(folder);
  await loaded(page, first, second, map);
  assert.equal(await model(page).locator(".model-name").textContent(), "my-model");
  await remove(root);
}, { origins: /^http:\/\/127\.0\.0\.1:/ });

onPage(
  "fits a narrow screen with everything open",
  async (page, hub, weights) => {
    await ask(page, REPO);
    await loaded(page, weights);
    const { scroll, client } = await page.evaluate(() => ({
      scroll: document.documentElement.scrollWidth,
      client: document.documentElement.clientWidth,
    }));
    assert.ok(scroll <= client, `${scroll} > ${client}`);
    if (process.env.SCREENSHOT) await page.screenshot({ path: process.env.SCREENSHOT, fullPage: true });
  },
  { viewport: { width: 360, height: 740 }, colorScheme: "dark" },
);
