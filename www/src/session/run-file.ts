/** The run file: everything that decides a run, in one JSON object. `postil train --run` reads the same. */
import { parseHubName } from "postil";
import { DEFAULTS, type Reading, type Settings } from "../state";
import { cut, isSetting, take } from "./check";
import { modelName, path, type Description, type FileUse } from "./description";
import { loraOptions, trainOptions } from "./options";

const VERSION = 1;
/** Far above any real one. */
const MAX_BYTES = 2 ** 20;
/** Fields that records can have. */
const MAX_COLUMNS = 20;

export function writeRun(run: Description): string {
  const { data, settings, allModules, initAdapter } = run;
  const lora = { ...loraOptions(settings), ...(allModules ? { target_modules: "all-linear" } : {}) };
  const file = {
    postil: VERSION,
    model: modelName(run),
    data: "set" in data ? { train: `demo:${data.set.id}` } : own(data.train, data.eval, settings),
    ...(initAdapter ? { init_adapter: path(initAdapter) } : { lora }),
    train: trainOptions(settings),
  };
  return `${JSON.stringify(file, null, 2)}\n`;
}

function own({ name, format, columns }: FileUse, evaluation: FileUse | undefined, { eval_split }: Settings) {
  return {
    train: path(name),
    ...(evaluation ? { eval: path(evaluation.name) } : {}),
    ...(eval_split > 0 ? { eval_split } : {}),
    ...(format ? { format } : {}),
    ...(columns ? { columns } : {}),
  };
}

/** What a run file asks for, as far as the page can do it. */
export interface ReadRun {
  /** "demo", or a name on the Hub. Absent where it is a path: the page cannot open that by itself. */
  model?: string;
  /** A built-in set's id, likewise; "" is the first. */
  set?: string;
  /** How the files that it names are to be read. */
  reading?: Reading;
  settings: Partial<Settings>;
  /** What is left for the user to do, and what was left out. */
  notes: string[];
}

/** As the command line's defaults, which a run file leaves out. */
const LEFT_OUT: Partial<Settings> = {
  ...DEFAULTS,
  per_device_train_batch_size: 4,
  max_length: 1024,
};

/** @throws if the text is no run file. */
export function readRun(text: string, name: string): ReadRun {
  if (text.length > MAX_BYTES) throw new Error(`${name} is larger than any run file.`);
  let file: unknown;
  try {
    file = JSON.parse(text);
  } catch (error) {
    throw new Error(`${name} is not JSON: ${error instanceof Error ? error.message : ""}`);
  }
  if (!isObject(file) || !("postil" in file)) {
    throw new Error(`${name} is not a run file: expected a JSON object with "postil": ${VERSION}.`);
  }
  if (file.postil !== VERSION) {
    throw new Error(`${name} is of version ${cut(JSON.stringify(file.postil))}; this page reads version ${VERSION}.`);
  }
  const notes: string[] = [];
  const { postil, model = "demo", data = {}, lora, train = {}, init_adapter, ...others } = file;
  for (const key of Object.keys(others)) notes.push(unknown(key));
  const settings: Partial<Settings> = { ...LEFT_OUT };
  if (isObject(lora)) {
    takeAll(settings, notes, lora);
  } else if (lora !== undefined) {
    notes.push("lora was left out: it must be an object.");
  }
  if (!isObject(lora) || typeof lora.lora_alpha !== "number") settings.lora_alpha = 2 * (settings.r ?? DEFAULTS.r);
  if (init_adapter !== undefined) {
    notes.push(`The run starts from the adapter ${cut(String(init_adapter))}: choose its files under Adapter.`);
  }
  takeTrain(settings, notes, train);
  return { ...takeModel(notes, model), ...takeData(settings, notes, data), settings, notes };
}

const unknown = (key: string) => `${cut(key)} was left out: this page has no such setting.`;

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function takeAll(settings: Partial<Settings>, notes: string[], from: Record<string, unknown>): void {
  for (const [key, value] of Object.entries(from)) {
    // What the settings call every module is an empty list.
    if (key === "target_modules" && typeof value === "string" && /^all-linear$/i.test(value))
      settings.target_modules = [];
    else if (value === null) continue;
    else if (isSetting(key)) take(settings, notes, key, value);
    else notes.push(unknown(key));
  }
}

function takeTrain(settings: Partial<Settings>, notes: string[], train: unknown): void {
  if (!isObject(train)) {
    notes.push("train was left out: it must be an object.");
    return;
  }
  const { num_train_epochs, save_steps, precision, ...rest } = train;
  if (rest.lr_scheduler_type === "constant_with_warmup") rest.lr_scheduler_type = "constant";
  takeAll(settings, notes, rest);
  if (rest.max_steps === undefined || rest.max_steps === null) {
    notes.push("The run’s length is in epochs; the page counts steps. Set them under Train.");
  }
  if (precision === "f16") notes.push("precision f16 was left out: the page computes in f32.");
  if (save_steps !== undefined && save_steps !== null) notes.push("save_steps was left out: the page keeps a checkpoint about once a minute.");
  const total = settings.max_steps ?? DEFAULTS.max_steps;
  if (typeof rest.warmup_steps !== "number") settings.warmup_steps = Math.min(100, Math.floor(total / 20));
  if (typeof rest.eval_steps !== "number") settings.eval_steps = Math.max(10, Math.ceil(total / 10));
}

function takeModel(notes: string[], model: unknown): { model?: string } {
  if (model === "demo") return { model };
  if (typeof model === "string" && !/^[./~]/.test(model) && parseHubName(model)) return { model };
  notes.push(`The run’s base is ${cut(String(model))}, on a disk: choose it under Model.`);
  return {};
}

function takeData(settings: Partial<Settings>, notes: string[], data: unknown): { set?: string; reading?: Reading } {
  const { train = "demo", eval: held = null, eval_split = null, format, columns, ...others } = isObject(data) ? data : {};
  for (const key of Object.keys(others)) if (others[key] !== null) notes.push(unknown(`data.${key}`));
  const set = train === "demo" ? "" : /^demo:(.+)$/.exec(String(train))?.[1];
  if (eval_split !== null) {
    if (set === undefined && held === null) take(settings, notes, "eval_split", eval_split);
    else notes.push("data.eval_split was left out: the data has a held-out part of its own.");
  }
  if (set !== undefined) return { set };
  const paths = [train, held].filter((file) => file !== null).map(String);
  const way = { ...takeFormat(notes, format), ...takeColumns(notes, columns) };
  const files = paths.map((file) => cut(file)).join(" and ");
  const read = Object.keys(way).length > 0 ? " It is then read as the run file says." : "";
  notes.push(`The run’s data is ${files}: choose ${paths.length > 1 ? "these files" : "this file"} under Data.${read}`);
  return read === "" ? {} : { reading: { names: paths.map((file) => file.split(/[/\\]/).pop() ?? file), ...way } };
}

function takeFormat(notes: string[], format: unknown): Pick<Reading, "format"> {
  if (format === undefined || format === null) return {};
  if (typeof format === "string" && /^[a-z-]+(,[a-z-]+)?$/.test(format)) return { format };
  notes.push(`data.format ${cut(JSON.stringify(format))} was left out: it must be a format’s name.`);
  return {};
}

function takeColumns(notes: string[], columns: unknown): Pick<Reading, "columns"> {
  if (columns === undefined || columns === null) return {};
  const pairs = isObject(columns) ? Object.entries(columns) : [];
  const isText = ([, column]: [string, unknown]): boolean => typeof column === "string";
  if (isObject(columns) && pairs.length <= MAX_COLUMNS && pairs.every(isText)) {
    return pairs.length > 0 ? { columns: columns as Record<string, string> } : {};
  }
  notes.push("data.columns was left out: it must be an object with a field’s name and a column’s for each.");
  return {};
}
