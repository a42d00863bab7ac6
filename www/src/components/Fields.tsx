import { createContext } from "preact";
import { useContext, useId } from "preact/hooks";
import { useSignal } from "@preact/signals";

/** The id of the form that fields belong to, where it is not the one around them. */
export const FormId = createContext<string | undefined>(undefined);

interface NumberFieldProps {
  label: string;
  hint?: string;
  value: number;
  min?: number;
  max?: number;
  /** Absent: any number; 1: whole numbers. */
  step?: number;
  /** May be left empty, which is not a number. */
  isOptional?: boolean;
  /** What holds while it is empty. */
  placeholder?: string;
  onChange: (value: number) => void;
}

const parse = (text: string) => (text.trim() === "" ? Number.NaN : Number(text));

/** A labelled number. What is typed stays as typed; an unfinished number counts as not a number. */
export function NumberField(props: NumberFieldProps) {
  const { label, hint, value, min, max, step, isOptional = false, placeholder, onChange } = props;
  const id = useId();
  const form = useContext(FormId);
  const text = useSignal(String(value));
  if (!Object.is(parse(text.value), value)) text.value = Number.isNaN(value) ? "" : String(value);
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <input
        id={id}
        type="number"
        form={form}
        inputMode="decimal"
        required={!isOptional}
        value={text.value}
        placeholder={placeholder}
        min={min}
        max={max}
        step={step ?? "any"}
        aria-describedby={hint ? `${id}-hint` : undefined}
        onInput={({ currentTarget }) => {
          text.value = currentTarget.value;
          onChange(parse(currentTarget.value));
        }}
      />
      {hint && (
        <small id={`${id}-hint`} class="hint">
          {hint}
        </small>
      )}
    </div>
  );
}

interface TextFieldProps {
  label: string;
  hint?: string;
  value: string;
  placeholder?: string;
  /** What is typed is not shown, and the browser is asked not to remember it. */
  secret?: boolean;
  onChange: (value: string) => void;
}

export function TextField({ label, hint, value, placeholder, secret = false, onChange }: TextFieldProps) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <input
        id={id}
        {...(secret ? ({ type: "password" } as const) : ({ type: "text" } as const))}
        value={value}
        placeholder={placeholder}
        autoComplete="off"
        autoCapitalize="off"
        spellcheck={false}
        aria-describedby={hint ? `${id}-hint` : undefined}
        onInput={({ currentTarget }) => onChange(currentTarget.value)}
      />
      {hint && (
        <small id={`${id}-hint`} class="hint">
          {hint}
        </small>
      )}
    </div>
  );
}

interface SelectFieldProps {
  label: string;
  hint?: string;
  value: string;
  options: readonly (readonly [value: string, label: string])[];
  onChange: (value: string) => void;
}

export function SelectField({ label, hint, value, options, onChange }: SelectFieldProps) {
  const id = useId();
  const form = useContext(FormId);
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <select
        id={id}
        form={form}
        value={value}
        aria-describedby={hint ? `${id}-hint` : undefined}
        onChange={({ currentTarget }) => onChange(currentTarget.value)}
      >
        {options.map(([key, name]) => (
          <option key={key} value={key}>
            {name}
          </option>
        ))}
      </select>
      {hint && (
        <small id={`${id}-hint`} class="hint">
          {hint}
        </small>
      )}
    </div>
  );
}

interface CheckFieldProps {
  label: string;
  hint: string;
  checked: boolean;
  onChange: (checked: boolean) => void;
}

export function CheckField({ label, hint, checked, onChange }: CheckFieldProps) {
  const id = useId();
  const form = useContext(FormId);
  return (
    <div class="check-field">
      <input
        id={id}
        type="checkbox"
        form={form}
        checked={checked}
        aria-describedby={`${id}-hint`}
        onChange={({ currentTarget }) => onChange(currentTarget.checked)}
      />
      <label for={id}>{label}</label>
      <small id={`${id}-hint`} class="hint">
        {hint}
      </small>
    </div>
  );
}

interface FileFieldProps {
  label: string;
  hint?: string;
  /** Any file without it. */
  accept?: string;
  multiple?: boolean;
  /** What a second chooser, for a whole folder, is called. */
  folder?: string;
  /** Something around it takes what is dropped. */
  dropsElsewhere?: boolean;
  onFiles: (files: File[]) => void;
}

/** A file chooser that is also a place to drop files on. */
export function FileField({
  label,
  hint,
  accept,
  multiple = false,
  folder,
  dropsElsewhere = false,
  onFiles,
}: FileFieldProps) {
  const id = useId();
  const over = useSignal(false);
  const take = (list: FileList | null | undefined) => {
    const files = [...(list ?? [])];
    if (files.length > 0) onFiles(files);
  };
  const drop = dropsElsewhere
    ? {}
    : {
        onDragOver: (event: DragEvent) => {
          event.preventDefault();
          over.value = true;
        },
        onDragLeave: () => (over.value = false),
        onDrop: (event: DragEvent) => {
          event.preventDefault();
          over.value = false;
          take(event.dataTransfer?.files);
        },
      };
  return (
    <div class={over.value ? "file-field over" : "file-field"} {...drop}>
      <label for={id}>{label}</label>
      <input
        id={id}
        type="file"
        accept={accept}
        multiple={multiple}
        aria-describedby={hint ? `${id}-hint` : undefined}
        onChange={({ currentTarget }) => {
          take(currentTarget.files);
          // The same file can be chosen again after it was changed.
          currentTarget.value = "";
        }}
      />
      {folder && (
        <>
          <label for={`${id}-folder`}>{folder}</label>
          <input
            id={`${id}-folder`}
            type="file"
            ref={(input) => {
              if (input) input.webkitdirectory = true;
            }}
            aria-describedby={hint ? `${id}-hint` : undefined}
            onChange={({ currentTarget }) => {
              take(currentTarget.files);
              currentTarget.value = "";
            }}
          />
        </>
      )}
      {hint && (
        <small id={`${id}-hint`} class="hint">
          {hint}
        </small>
      )}
    </div>
  );
}
