// Writes runs as the page hands them to other programs: a folder each, with run.json, train.sh, train.py and the data.
//
//     node tests/peft/write_runs.mjs FOLDER
//
// Where a run's data is one batch, its first step, and that of an adapter to start from every step, does not depend on the
// order of the data, which differs between libraries.
import { mkdir, symlink, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { loadModules, www } from "../page/harness.mjs";

const out = resolve(process.argv[2]);

const COLOURS = [
  ["Name a colour.\n", "Red is a colour."],
  ["Name an animal.\n", "The fox is an animal that likes to run."],
  ["Name a thing.\n", "A silver key."],
  ["Name a place.\n", "The meadow by the river."],
];
const HELD = [
  ["Name a bird.\n", "The owl."],
  ["Name a tree.\n", "An old oak that stands near the mill."],
];

const lines = (rows) => rows.map((row) => `${JSON.stringify(row)}\n`).join("");
const table = (rows, head, between) => [head, ...rows].map((row) => `${row.map((cell) => JSON.stringify(cell).replaceAll("\\n", "\n")).join(between)}\n`).join("");
const prompts = (rows) => lines(rows.map(([prompt, completion]) => ({ prompt, completion })));
const chat = (rows) =>
  lines(
    rows.map(([asked, answered]) => ({
      messages: [
        { role: "system", content: "Be brief." },
        { role: "user", content: asked },
        { role: "assistant", content: answered },
        { role: "user", content: "Another." },
        { role: "assistant", content: "That is enough." },
      ],
    })),
  );

/** By name: what differs from a run of the built-in model with prompts and completions, and the files that it needs. */
const RUNS = {
  columns: {
    data: { train: { name: "a table.csv", columns: { prompt: "the question", completion: "the answer" } }, eval: { name: "held.csv", columns: { prompt: "the question", completion: "the answer" } } },
    files: {
      "a table.csv": table(COLOURS, ["the question", "the answer"], ","),
      "held.csv": table(HELD, ["the question", "the answer"], ","),
    },
    settings: {
      lr_scheduler_type: "constant",
      rank_pattern: { "(layers|h)\\.(0|1)\\..*": 2 },
      alpha_pattern: { "(layers|h)\\.(0|1)\\..*": 10 },
    },
  },
  accumulated: {
    data: { train: { name: "rows.jsonl" } },
    files: { "rows.jsonl": prompts(COLOURS) },
    settings: { per_device_train_batch_size: 2, gradient_accumulation_steps: 2, lora_dropout: 0, lr_scheduler_type: "linear" },
  },
  chats: {
    data: { train: { name: "chats.jsonl" }, eval: { name: "held.jsonl" } },
    records: "messages",
    files: { "chats.jsonl": chat(COLOURS), "held.jsonl": chat(HELD) },
  },
  all_of_chats: {
    data: { train: { name: "chats.jsonl" } },
    records: "messages",
    files: { "chats.jsonl": chat(COLOURS) },
    settings: { assistant_only_loss: false, gradient_checkpointing: true },
  },
  alpaca: {
    data: { train: { name: "rows.tsv", known: { output: "response" } } },
    records: "Alpaca",
    files: {
      "rows.tsv": table(
        COLOURS.map(([asked, answered], row) => [asked.trim(), row % 2 ? "a farm" : "", answered]),
        ["instruction", "input", "response"],
        "\t",
      ),
    },
  },
  sharegpt: {
    data: { train: { name: "talk.json" } },
    records: "ShareGPT",
    files: {
      "talk.json": JSON.stringify(
        COLOURS.map(([asked, answered]) => ({
          system: "Be brief.",
          conversations: [
            { from: "human", value: asked },
            { from: "gpt", value: answered },
          ],
        })),
      ),
    },
  },
  text: {
    data: { train: { name: "text.jsonl" } },
    records: "text",
    files: { "text.jsonl": lines(COLOURS.map(([asked, answered]) => ({ text: asked + answered }))) },
  },
  split: {
    data: { train: { name: "rows.jsonl" } },
    files: { "rows.jsonl": prompts([...COLOURS, ...HELD, ...COLOURS, ...HELD]) },
    settings: { eval_split: 0.25 },
  },
  packed: {
    data: { train: { name: "rows.jsonl" } },
    files: { "rows.jsonl": prompts(COLOURS) },
    settings: { packing: true },
  },
  grouped: {
    data: { train: { name: "rows.jsonl" } },
    files: { "rows.jsonl": prompts(COLOURS) },
    settings: { group_by_length: true },
  },
  built_in: {
    data: { set: { id: "headline", train: "headline.jsonl", eval: "headline-eval.jsonl" } },
    records: "messages",
    settings: { max_steps: 1, max_length: 512 },
  },
  // The adapter is the one that `columns` makes.
  going_on: {
    data: { train: { name: "rows.jsonl" }, eval: { name: "held.jsonl" } },
    files: { "rows.jsonl": prompts(COLOURS), "held.jsonl": prompts(HELD) },
    initAdapter: "mine",
    settings: { max_steps: 8, learning_rate: 0.01, warmup_steps: 3 },
  },
};

const load = await loadModules();
const [{ DEFAULTS }, { commandLine }, { writeRun }, { script }] = await Promise.all(
  ["state/settings.ts", "session/command.ts", "session/run-file.ts", "session/script.ts"].map(load),
);
const SMALL = { r: 4, lora_alpha: 8, target_modules: ["q_proj", "v_proj", "down_proj"], max_steps: 4, per_device_train_batch_size: 4, warmup_steps: 2, max_length: 128, eval_steps: 2 };
for (const [name, { files = {}, settings = {}, ...change }] of Object.entries(RUNS)) {
  const run = { model: { builtIn: true }, records: "prompt/completion", allModules: false, ...change, settings: { ...DEFAULTS, ...SMALL, ...settings } };
  const folder = join(out, name);
  await mkdir(folder, { recursive: true });
  const forms = { "run.json": writeRun(run), "train.sh": commandLine(run), "train.py": script(run) };
  for (const [file, text] of Object.entries({ ...forms, ...files })) await writeFile(join(folder, file), text);
  // What the script calls the built-in model.
  await symlink(join(www, "public", "demo"), join(folder, "demo"));
}
await load.close();
