import { useSignal } from "@preact/signals";
import { readAs } from "../session/data";
import { active } from "../state";
import { SelectField } from "./Fields";

interface Format {
  name: string;
  label: string;
  /** What a report calls it. */
  reported: string;
  required: readonly string[];
  optional: readonly string[];
}

/** The formats of records and their fields, by the engine's names. */
const FORMATS: readonly Format[] = [
  { name: "prompt-completion", label: "Prompt and completion", reported: "prompt/completion", required: ["prompt", "completion"], optional: [] },
  { name: "text", label: "Text", reported: "text", required: ["text"], optional: [] },
  { name: "messages", label: "Chat messages", reported: "messages", required: ["messages"], optional: ["system"] },
  { name: "sharegpt", label: "ShareGPT conversations", reported: "ShareGPT", required: ["conversations"], optional: ["system"] },
  { name: "alpaca", label: "Alpaca", reported: "Alpaca", required: ["instruction", "output"], optional: ["input", "system"] },
];

/** What a column is read as in records of a format that a report names; nothing if it is not read. */
export function fieldOf(column: string, reported: string, columns: Record<string, string> = {}): string | undefined {
  const format = FORMATS.find((other) => other.reported === reported);
  const fields = format ? [...format.required, ...format.optional] : [];
  return fields.find((field) => (columns[field] ?? field) === column);
}

interface ColumnMapProps {
  role: "train" | "eval";
  columns: readonly string[];
  /** The file cannot be read as it is. */
  isNeeded: boolean;
}

/** Says which of a file's columns are read as what. It takes effect once every field that is needed has its column. */
export function ColumnMap({ role, columns, isNeeded }: ColumnMapProps) {
  const format = useSignal("");
  const chosen = useSignal<Record<string, string>>({});
  const wasNeeded = useSignal(isNeeded);
  if (isNeeded) wasNeeded.value = true;
  const found = FORMATS.find(({ name }) => name === format.value);

  const apply = (next: Format | undefined, picked: Record<string, string>) => {
    format.value = next?.name ?? "";
    chosen.value = picked;
    if (!next) void readAs(role, undefined);
    else if (next.required.every((field) => picked[field])) {
      const used = Object.entries(picked).filter(([, column]) => column !== "");
      void readAs(role, { format: next.name, columns: Object.fromEntries(used) });
    }
  };
  const chooseFormat = (name: string) => {
    const next = FORMATS.find((other) => other.name === name);
    const fields = next ? [...next.required, ...next.optional] : [];
    apply(next, Object.fromEntries(fields.map((field) => [field, columns.includes(field) ? field : ""])));
  };
  const chooseColumn = (field: string, column: string) => apply(found, { ...chosen.value, [field]: column });

  const choiceOf = (field: string, none: string) => (
    <SelectField
      key={field}
      label={`${field.charAt(0).toUpperCase()}${field.slice(1)} is in`}
      value={chosen.value[field] ?? ""}
      options={[["", none], ...columns.map((column) => [column, column] as const)]}
      onChange={(column) => chooseColumn(field, column)}
    />
  );
  return (
    <details class="column-map" open={wasNeeded.value}>
      <summary>Choose columns</summary>
      <fieldset class="bare" disabled={active.value}>
        <legend class="hint">This file’s columns: {columns.join(", ")}</legend>
        <div class="fields">
          <SelectField
            label="Read the records as"
            value={format.value}
            options={[["", "what their names say"], ...FORMATS.map(({ name, label }) => [name, label] as const)]}
            onChange={chooseFormat}
          />
          {found?.required.map((field) => choiceOf(field, "choose a column"))}
          {found?.optional.map((field) => choiceOf(field, "none"))}
        </div>
      </fieldset>
    </details>
  );
}
