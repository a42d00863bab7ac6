/** The command line that does what the page would do. */
import { quoted } from "../csv";
import { modelName, path, type Description } from "./description";

const SAFE = /^[A-Za-z0-9_./:@%=,+-]+$/;

/** A word for a POSIX shell. */
export const quote = (word: string): string => (SAFE.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`);

/** One option a line. */
export function commandLine(run: Description): string {
  const { data, settings, allModules, initAdapter } = run;
  const options: [string, ...string[]][] = [["--model", modelName(run)]];
  if ("set" in data) options.push(["--data", `demo:${data.set.id}`]);
  else {
    const { name, format, columns } = data.train;
    options.push(["--data", path(name)]);
    if (format) options.push(["--data-format", format]);
    const pairs = Object.entries(columns ?? {}).map(([field, column]) => quoted(`${field}=${column}`));
    if (pairs.length > 0) options.push(["--columns", pairs.join(",")]);
    if (data.eval) options.push(["--eval-data", path(data.eval.name)]);
    if (settings.eval_split > 0) options.push(["--eval-split", `${settings.eval_split}`]);
  }
  if (initAdapter) options.push(["--init-adapter", path(initAdapter)]);
  else {
    options.push(["--rank", `${settings.r}`], ["--alpha", `${settings.lora_alpha}`]);
    if (settings.lora_dropout > 0) options.push(["--dropout", `${settings.lora_dropout}`]);
    options.push(["--target-modules", allModules ? "all-linear" : settings.target_modules.join(",")]);
    for (const [key, r] of Object.entries(settings.rank_pattern)) options.push(["--rank-pattern", `${key}=${r}`]);
    for (const [key, alpha] of Object.entries(settings.alpha_pattern))
      options.push(["--alpha-pattern", `${key}=${alpha}`]);
  }
  options.push(
    ["--max-steps", `${settings.max_steps}`],
    ["--batch-size", `${settings.per_device_train_batch_size}`],
    ["--grad-accum", `${settings.gradient_accumulation_steps}`],
    ["--lr", `${settings.learning_rate}`],
    ["--schedule", settings.lr_scheduler_type],
    ["--warmup-steps", `${settings.warmup_steps}`],
    ["--max-length", `${settings.max_length}`],
    ["--eval-steps", `${settings.eval_steps}`],
    ["--seed", `${settings.seed}`],
  );
  // Packed rows are of one length already: the program takes one of the two.
  if (settings.packing) options.push(["--packing"]);
  else if (settings.group_by_length) options.push(["--group-by-length"]);
  if (settings.gradient_checkpointing) options.push(["--gradient-checkpointing"]);
  if (!settings.assistant_only_loss) options.push(["--train-on-all"]);
  options.push(["--out", "adapter"]);
  const lines = options.map((words) => words.map(quote).join(" "));
  return `postil train ${lines.join(" \\\n  ")}\n`;
}

export const runFileCommand = "postil train --run run.json --out adapter\n";
