// What the fake engine makes of data: JSON Lines of prompts and completions, 20 tokens each.

/** Its model's tokenizer has no end token. */
const NO_END = "no-end.jsonl";

/** An error as the engine throws it. */
export function failure(kind, message) {
  return Object.assign(new Error(message), { kind });
}

export function columnsOf({ name, data }) {
  if (/\.txt$/.test(name)) return [];
  try {
    return Object.keys(JSON.parse(new TextDecoder().decode(data).split("\n")[0]));
  } catch {
    return [];
  }
}

export function firstRows({ name, data }, count) {
  const lines = new TextDecoder().decode(data).split("\n");
  if (/\.txt$/.test(name)) return { columns: ["text"], rows: [[lines.join("\n")]] };
  const rows = lines
    .flatMap((line) => {
      try {
        return [JSON.parse(line)];
      } catch {
        return [];
      }
    })
    .slice(0, count);
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const cell = (value = "") => (typeof value === "string" ? value : JSON.stringify(value));
  return { columns, rows: rows.map((row) => columns.map((column) => cell(row[column]))) };
}

export function inspect({ name, data, format, columns }, { max_length, assistant_only_loss }) {
  if (name === "inspected-trap.jsonl") throw new WebAssembly.RuntimeError("unreachable");
  if (name === "damaged.parquet") throw failure("Internal", "the engine was given a file that it cannot survive");
  if (/\.parquet$/.test(name)) throw failure("Data", `${name}: no Parquet in this fake`);
  if (format && format !== "prompt-completion") throw failure("Data", `${name}: no ${format} in this fake`);
  const lines = new TextDecoder().decode(data).split("\n");
  const skipped = [];
  const texts = [];
  for (const [index, line] of lines.entries()) {
    if (line.trim() === "") continue;
    try {
      const row = JSON.parse(line);
      if (row.messages && assistant_only_loss && !row.messages.some(({ role }) => role === "assistant")) {
        throw failure("Data", `${name}: none of 1 record has a token to train on: 1 has no assistant turn`);
      }
      // Known by their names, as the engine knows some.
      if (row.question && row.answer) columns ??= { prompt: "question", completion: "answer" };
      const read = (field) => row[columns?.[field] ?? field] ?? (row.messages && "turns");
      const [prompt, completion] = [read("prompt"), read("completion")];
      if (completion === undefined) {
        throw failure("Data", `${name}: no record that can be trained on; its columns are ${Object.keys(row).join(", ")}`);
      }
      texts.push([
        { text: prompt, trained: false },
        { text: completion, trained: true },
      ]);
    } catch (error) {
      if (error.kind) throw error;
      skipped.push({ line: index + 1, reason: "not a JSON object" });
    }
  }
  if (texts.length === 0) throw failure("Data", `${name}: no line holds an example; line 1: not a JSON object`);
  const total = texts.length * 20;
  return {
    file_format: "JSON Lines",
    format: "prompt/completion",
    columns: columns ?? {},
    unit: "line",
    records: texts.length,
    skipped: { count: skipped.length, first: skipped },
    refused: { count: 0, first: [] },
    examples: texts.length,
    limit: max_length,
    truncated: texts.length > 1 && max_length < 30 ? 1 : 0,
    without_targets: 0,
    cut_away: 0,
    duplicates: texts.length - new Set(texts.map((pieces) => JSON.stringify(pieces))).size,
    // All but one of the records have 20 tokens, and that one 30.
    lengths: { min: 20, p5: 20, p25: 20, p50: 20, p75: 20, p95: 20, p99: 30, max: 30, mean: 20.5 },
    histogram: [
      { from: 20, to: 24, examples: Math.max(1, texts.length - 1) },
      { from: 25, to: 29, examples: 0 },
      { from: 30, to: 34, examples: texts.length > 1 ? 1 : 0 },
    ],
    packing: {
      rows: Math.ceil(total / max_length),
      max_length,
      efficiency: total / (Math.ceil(total / max_length) * max_length),
    },
    target_tokens: total / 2,
    total_tokens: total,
    warnings: [
      ...(skipped.length > 0 ? [`${skipped.length} of ${lines.length} lines were skipped`] : []),
      ...(name === NO_END ? ["the tokenizer names no end token: the model does not learn where to stop (fake)"] : []),
    ],
    preview: texts.slice(0, 3),
  };
}
