import { useSignal } from "@preact/signals";
import { readAs } from "../session/data";
import { active } from "../state";
import { SelectField } from "./Fields";

interface Format {
  name: string;
  label: string;
  required: readonly string[];
  optional: readonly string[];
}

/** The formats of records and their fields, by the engine's names. */
const FORMATS: readonly Format[] = [
  { name: "prompt-completion", label: "Prompt and completion", required: ["prompt", "completion"], optional: [] },
  { name: "text", label: "Text", required: ["text"], optional: [] },
  { name: "messages", label: "Chat messages", required: ["messages"], optional: ["system"] },
  { name: "sharegpt", label: "ShareGPT conversations", required: ["conversations"], optional: ["system"] },
  { name: "alpaca", label: "Alpaca", required: ["instruction", "output"], optional: ["input", "system"] },
];

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

  const fieldOf = (field: string, none: string) => (
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
          {found?.required.map((field) => fieldOf(field, "choose a column"))}
          {found?.optional.map((field) => fieldOf(field, "none"))}
        </div>
      </fieldset>
    </details>
  );
}
