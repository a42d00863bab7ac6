/** Choosing data: the built-in sets or the user's files, and what the engine makes of them. */
import { fetchFile, PostilError, type DataFile } from "postil";
import {
  OWN_FILES,
  active,
  chatOfData,
  chatWish,
  chosenData,
  chosenSet,
  dataSets,
  dataSetsError,
  dropNotice,
  evalFile,
  linkedReading,
  linkedSet,
  linkNotes,
  type DataSet,
  type LoadedFile,
  modelInfo,
  prompt,
  settings,
  trainFile,
} from "../state";
import { cut } from "./check";
import { tuner } from "./engine";

/** Larger files belong in the command-line program: a page holds them in memory more than once. */
const MAX_DATA_BYTES = 256 * 2 ** 20;

/** Rows of a file that are shown. */
const SHOWN_ROWS = 5;

const INDEX = new URL("demo/data/index.json", document.baseURI);

/** Counts choices, so that an answer to an older one is dropped. */
let choice = 0;

export async function loadDataSets(): Promise<void> {
  try {
    dataSets.value = JSON.parse(await (await fetchFile(INDEX)).text()) as DataSet[];
  } catch (error) {
    dataSetsError.value = `The built-in data sets are not available. ${error instanceof Error ? error.message : ""}`;
    return;
  }
  const wanted = linkedSet.value;
  linkedSet.value = undefined;
  const found = dataSets.value.find(({ id }) => id === wanted);
  if (wanted && !found) linkNotes.value = [...linkNotes.value, `There is no built-in data set ${cut(wanted)}.`];
  const first = found ?? dataSets.value[0];
  if (first && chosenData.value === OWN_FILES && !trainFile.value) await chooseSet(first.id, true);
}

/** A set of a link's, unlike one that is chosen on the page, leaves what the link says of Compare. */
export async function chooseSet(id: string, isLinked = false): Promise<void> {
  dropNotice.value = undefined;
  if (!isLinked) chatWish.value = undefined;
  chosenData.value = id;
  trainFile.value = undefined;
  evalFile.value = undefined;
  const mine = ++choice;
  const set = chosenSet.value;
  if (!set) return;
  prompt.value = set.prompts[0] ?? "";
  chatOfData.value = set.chat;
  try {
    const [train, evaluation] = await Promise.all([fetchData(set.train), set.eval ? fetchData(set.eval) : undefined]);
    if (mine !== choice) return;
    trainFile.value = { file: train };
    evalFile.value = evaluation && { file: evaluation };
  } catch (error) {
    if (mine !== choice) return;
    const message = error instanceof Error ? error.message : String(error);
    trainFile.value = { file: { name: set.train, data: new Uint8Array() }, error: message };
    return;
  }
  await inspectData();
}

async function fetchData(path: string): Promise<DataFile> {
  const blob = await fetchFile(new URL(path, INDEX));
  return { name: path, data: new Uint8Array(await blob.arrayBuffer()) };
}

export function chooseOwnFiles(): void {
  choice++;
  chosenData.value = OWN_FILES;
  trainFile.value = undefined;
  evalFile.value = undefined;
}

/** Data that is here already: of a set, if there still is one of that id, or of the user's. */
export function putData(set: string | undefined, train: DataFile, evaluation: DataFile | undefined): void {
  choice++;
  chosenData.value = dataSets.value.some(({ id }) => id === set) ? set! : OWN_FILES;
  trainFile.value = { file: train };
  evalFile.value = evaluation && { file: evaluation };
  chatWish.value = undefined;
  if (chosenSet.value) chatOfData.value = chosenSet.value.chat;
  void inspectData();
}

export async function takeFile(role: "train" | "eval", file: File): Promise<void> {
  const target = role === "train" ? trainFile : evalFile;
  dropNotice.value = undefined;
  if (chosenData.value !== OWN_FILES) chooseOwnFiles();
  if (file.size > MAX_DATA_BYTES) {
    const error = `${file.name} has ${Math.ceil(file.size / 2 ** 20)} MiB; the page takes up to ${MAX_DATA_BYTES / 2 ** 20} MiB. Split it.`;
    target.value = { file: { name: file.name, data: new Uint8Array() }, error };
    return;
  }
  const mine = choice;
  const data = new Uint8Array(await file.arrayBuffer());
  if (mine !== choice) return;
  const loaded: LoadedFile = { file: { name: file.name, data, ...readingOf(file.name) } };
  target.value = loaded;
  await inspect(target, loaded);
  const format = target.value?.report?.format ?? "";
  if (role === "eval") return;
  chatOfData.value = /chat|messages|sharegpt/i.test(format);
  chatWish.value = undefined;
}

/** How a run file that was opened wants a file of this name to be read. */
function readingOf(name: string): Pick<DataFile, "format" | "columns"> {
  const { names, format, columns } = linkedReading.value ?? { names: [] };
  if (!names.includes(name)) return {};
  return { ...(format === undefined ? {} : { format }), ...(columns ? { columns } : {}) };
}

/** Takes what was dropped, or says why not. */
export async function dropData(files: readonly File[]): Promise<void> {
  const [file, ...others] = files;
  if (!file) return;
  if (active.value) {
    dropNotice.value = `${file.name} was not taken: a run goes on. Drop it again afterwards.`;
    return;
  }
  await takeFile("train", file);
  if (others.length === 0) return;
  const names = others.map(({ name }) => cut(name)).join(", ");
  dropNotice.value = `Only ${file.name} was taken, as training data. Choose held-out data below; not taken: ${cut(names, 200)}.`;
}

/** Kinds of text that can be pasted, by the ends of their files' names. */
export type PastedKind = "jsonl" | "json" | "csv" | "tsv" | "txt";

/** What a text looks like. */
export function kindOf(text: string): PastedKind {
  const start = text.trimStart();
  if (start.startsWith("[")) return "json";
  if (start.startsWith("{")) return isJson(text) ? "json" : "jsonl";
  const header = start.split("\n", 1)[0] ?? "";
  for (const [delimiter, kind] of [
    ["\t", "tsv"],
    [",", "csv"],
  ] as const) {
    const names = header.split(delimiter).map((name) => name.trim().replace(/^"|"$/g, ""));
    if (names.length > 1 && names.every((name) => /^[\w .-]{1,40}$/.test(name))) return kind;
  }
  return "txt";
}

/** One object over several lines is a JSON file, not JSON Lines. */
function isJson(text: string): boolean {
  if (text.trim().split("\n", 1)[0]?.trim().endsWith("}")) return false;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

export async function takeText(text: string, kind: PastedKind): Promise<void> {
  await takeFile("train", new File([text], `pasted.${kind}`));
}

export function dropEvalFile(): void {
  evalFile.value = undefined;
}

/** Looks at the chosen files again: the model or the length limit has changed. */
export async function inspectData(): Promise<void> {
  await Promise.all([trainFile, evalFile].map((target) => target.value && inspect(target, target.value)));
}

/** Which format the records of a file are to be read as, and which of its columns as which of the format's fields. */
export interface Mapping {
  format: string;
  columns: Record<string, string>;
}

/** Reads a file again as `mapping` says; without one, as the engine finds it. */
export async function readAs(role: "train" | "eval", mapping: Mapping | undefined): Promise<void> {
  const target = role === "train" ? trainFile : evalFile;
  if (!target.value) return;
  const { name, data } = target.value.file;
  const { columns } = target.value;
  const loaded: LoadedFile = { file: { name, data, ...mapping }, ...(columns ? { columns } : {}) };
  target.value = loaded;
  await inspect(target, loaded);
}

/** The newest look at each file: what an older one that still waits would say is of no use. */
const looks = new Map<typeof trainFile, AbortController>();

async function inspect(target: typeof trainFile, { file, columns: known, rows: knownRows }: LoadedFile): Promise<void> {
  // The reports are in tokens: they need the model's tokenizer.
  if (!modelInfo.value || file.data.length === 0) return;
  const { max_length, assistant_only_loss } = settings.value;
  looks.get(target)?.abort();
  const look = new AbortController();
  looks.set(target, look);
  const report = tuner().inspectData(file, { max_length, assistant_only_loss, signal: look.signal });
  // The built-in sets need no mapping. Why a file cannot be read is in its report.
  const isOwn = chosenData.value === OWN_FILES;
  const listed =
    known ??
    (isOwn
      ? tuner()
          .dataColumns(file)
          .catch(() => [])
      : undefined);
  const shown =
    knownRows ??
    tuner()
      .dataRows(file, SHOWN_ROWS)
      .catch(() => undefined);
  const [found, columns, rows] = await Promise.all([
    report.then(
      (report) => ({ report }),
      (error: unknown) => ({
        error: error instanceof Error ? error.message : String(error),
        fatal: error instanceof PostilError && error.fatal,
      }),
    ),
    listed,
    shown,
  ]);
  if (target.value?.file !== file || looks.get(target) !== look) return;
  const { fatal, ...said } = { fatal: false, ...found };
  // What ended the engine once must not be what its successor begins with.
  target.value = { file: fatal ? unreadable(file) : file, ...said, ...(columns ? { columns } : {}), ...(rows ? { rows } : {}) };
}

/** A file that is named, but not looked at again. */
function unreadable({ name }: DataFile): DataFile {
  return { name, data: new Uint8Array() };
}
