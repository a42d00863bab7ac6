/**
 * The Python script that does with PEFT and TRL what the page would do. Names are those of transformers 5, PEFT 0.21
 * and TRL 1: `SFTConfig`, `LoraConfig`, `datasets.load_dataset`.
 */
import { parseHubName } from "postil";
import type { Description, FileUse } from "./description";

/** A value as Python writes it. JSON's strings are Python's, too. */
function python(value: unknown, indent = ""): string {
  if (typeof value === "boolean") return value ? "True" : "False";
  if (value === null || value === undefined) return "None";
  if (Array.isArray(value)) return `[${value.map((item) => python(item)).join(", ")}]`;
  if (typeof value === "object") {
    const inner = Object.entries(value).map(([key, item]) => `${indent}    ${JSON.stringify(key)}: ${python(item)},\n`);
    return inner.length === 0 ? "{}" : `{\n${inner.join("")}${indent}}`;
  }
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}

function call(name: string, args: Record<string, unknown>): string {
  const lines = Object.entries(args).map(
    ([key, value]) => `    ${key}=${value instanceof Code ? value.text : python(value, "    ")},\n`,
  );
  return `${name}(\n${lines.join("")})`;
}

/** Stands in the script as it is. */
class Code {
  constructor(readonly text: string) {}
}

export function script(run: Description): string {
  const { data, settings, initAdapter } = run;
  const chat = run.records === "messages" || run.records === "ShareGPT";
  const [train, held] =
    "set" in data ? [builtIn(data.set.train), data.set.eval && builtIn(data.set.eval)] : [data.train, data.eval];
  const isSplit = settings.eval_split > 0;
  const isEvaluated = held || isSplit;
  const config = {
    output_dir: "adapter",
    max_steps: settings.max_steps,
    per_device_train_batch_size: settings.per_device_train_batch_size,
    gradient_accumulation_steps: settings.gradient_accumulation_steps,
    learning_rate: settings.learning_rate,
    // The trainer's "constant" has no warm-up.
    lr_scheduler_type:
      settings.lr_scheduler_type === "constant" && settings.warmup_steps > 0
        ? "constant_with_warmup"
        : settings.lr_scheduler_type,
    warmup_steps: settings.warmup_steps,
    weight_decay: 0.0,
    max_grad_norm: 1.0,
    max_length: settings.max_length,
    packing: settings.packing,
    ...(settings.group_by_length && !settings.packing ? { train_sampling_strategy: "group_by_length" } : {}),
    gradient_checkpointing: settings.gradient_checkpointing,
    ...(chat ? { assistant_only_loss: settings.assistant_only_loss } : {}),
    ...(isEvaluated ? { eval_strategy: "steps", eval_steps: settings.eval_steps, eval_on_start: true } : {}),
    seed: settings.seed,
    bf16: false,
    logging_steps: 1,
    report_to: "none",
  };
  const lora = {
    r: settings.r,
    lora_alpha: settings.lora_alpha,
    lora_dropout: settings.lora_dropout,
    target_modules: run.allModules ? "all-linear" : settings.target_modules,
    ...(Object.keys(settings.rank_pattern).length > 0 ? { rank_pattern: settings.rank_pattern } : {}),
    ...(Object.keys(settings.alpha_pattern).length > 0 ? { alpha_pattern: settings.alpha_pattern } : {}),
    task_type: "CAUSAL_LM",
  };
  const trainer = {
    model: new Code("model"),
    args: new Code(call("SFTConfig", config).replaceAll("\n", "\n    ")),
    train_dataset: new Code("train"),
    ...(isEvaluated ? { eval_dataset: new Code("held_out") } : {}),
    processing_class: new Code("tokenizer"),
    ...(initAdapter ? {} : { peft_config: new Code(call("LoraConfig", lora).replaceAll("\n", "\n    ")) }),
  };
  return [
    "# pip install torch transformers peft trl datasets",
    "import torch",
    "from datasets import load_dataset",
    `from peft import ${initAdapter ? "PeftModel" : "LoraConfig"}`,
    "from transformers import AutoModelForCausalLM, AutoTokenizer",
    "from trl import SFTConfig, SFTTrainer",
    "",
    ...base(run),
    ...(initAdapter ? [`model = PeftModel.from_pretrained(model, ${python(initAdapter)}, is_trainable=True)`] : []),
    "",
    ...(CONVERTERS[run.records ?? ""] ?? []),
    ...load("train", train, run.records),
    ...(held ? load("held_out", held, run.records) : []),
    ...(isSplit ? split(settings) : []),
    "",
    `trainer = ${call("SFTTrainer", trainer)}`,
    "trainer.train()",
    'trainer.save_model("adapter")',
    "",
  ].join("\n");
}

const builtIn = (name: string): FileUse => ({ name: `demo/data/${name}` });

function base({ model }: Description): string[] {
  if ("hub" in model) {
    const { repo = model.hub, revision = "main", file } = parseHubName(model.hub) ?? {};
    const args = [python(repo), ...(revision === "main" ? [] : [`revision=${python(revision)}`])];
    if (file) args.push(`gguf_file=${python(file)}`);
    return loading(args);
  }
  if ("builtIn" in model) return ["# The folder www/public/demo of Postil’s source.", ...loading(['"demo"'])];
  if (!model.gguf && !/\.gguf$/i.test(model.disk)) return loading([python(`./${model.disk}`)]);
  return loading(['"."', `gguf_file=${python(model.disk)}`]);
}

const loading = (args: string[]): string[] => [
  `tokenizer = AutoTokenizer.from_pretrained(${args.join(", ")})`,
  `model = AutoModelForCausalLM.from_pretrained(${[...args, "dtype=torch.float32"].join(", ")})`,
];

/** The reader of `datasets` for a kind of file. */
const READERS: readonly (readonly [RegExp, string, string])[] = [
  [/^csv|\.csv$/i, "csv", ""],
  [/^tsv|\.tsv$/i, "csv", ', sep="\\t"'],
  [/^parquet|\.parquet$/i, "parquet", ""],
  [/^txt|\.txt$/i, "text", ', sample_by="document"'],
];

function load(variable: string, { name, format, known, columns = known }: FileUse, records: string | undefined): string[] {
  const kind = /^(jsonl?|csv|tsv|parquet|txt)\b/.exec(format ?? "")?.[1] ?? name;
  const [, reader, options] = READERS.find(([pattern]) => pattern.test(kind)) ?? [undefined, "json", ""];
  const lines = [`${variable} = load_dataset(${python(reader)}, data_files=${python(name)}, split="train"${options})`];
  const renamed = Object.entries(columns ?? {}).filter(([field, column]) => field !== column);
  if (renamed.length > 0) {
    const fields = python(renamed.map(([field]) => field));
    const sources = renamed.map(([, column]) => column);
    lines.push(
      `${variable} = ${variable}.remove_columns([name for name in ${fields} if name in ${variable}.column_names and name not in ${python(sources)}])`,
      `${variable} = ${variable}.rename_columns(${python(Object.fromEntries(renamed.map(([field, column]) => [column, field])))})`,
    );
  }
  const convert = records === "Alpaca" ? "from_alpaca" : records === "ShareGPT" ? "from_sharegpt" : undefined;
  if (convert) lines.push(`${variable} = ${variable}.map(${convert}, remove_columns=${variable}.column_names)`);
  return lines;
}

const split = ({ eval_split, seed }: Description["settings"]): string[] => [
  "# Other examples than Postil's: every library draws in its own way.",
  `parts = train.train_test_split(test_size=${eval_split}, seed=${seed})`,
  'train, held_out = parts["train"], parts["test"]',
];

/** Formats that TRL does not read by itself. */
const CONVERTERS: Record<string, string[]> = {
  Alpaca: [
    "def from_alpaca(row):",
    '    with_input = "Below is an instruction that describes a task, paired with an input that provides further context. "',
    '    without = "Below is an instruction that describes a task. "',
    '    task = "Write a response that appropriately completes the request."',
    '    text = row.get("system") or (with_input if row.get("input") else without) + task',
    '    for asked, answered in row.get("history") or []:',
    '        text += f"\\n\\n### Instruction:\\n{asked}\\n\\n### Response:{answered}"',
    "    text += f\"\\n\\n### Instruction:\\n{row['instruction']}\"",
    '    if row.get("input"):',
    "        text += f\"\\n\\n### Input:\\n{row['input']}\"",
    '    return {"prompt": text + "\\n\\n### Response:", "completion": row["output"]}',
    "",
    "",
  ],
  ShareGPT: [
    "def from_sharegpt(row):",
    '    roles = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bard": "assistant", "bing": "assistant",',
    '             "model": "assistant", "observation": "tool", "function_response": "tool"}',
    '    turns = [{"role": roles.get(turn["from"], turn["from"]), "content": turn["value"]} for turn in row["conversations"]]',
    '    if row.get("system") and turns[0]["role"] != "system":',
    '        turns.insert(0, {"role": "system", "content": row["system"]})',
    '    return {"messages": turns}',
    "",
    "",
  ],
};
