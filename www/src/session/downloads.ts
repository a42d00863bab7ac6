/** What the user takes away: the adapter, checked as written; the settings; the run's log. */
import { zipAdapter, type AdapterFiles } from "postil";
import {
  chosenSet,
  downloads,
  isOfModel,
  loadedAdapters,
  model,
  modelInfo,
  prompt,
  run,
  savedAdapter,
  stepping,
  steps,
  sweep,
  type DownloadState,
  type KeptRun,
  type SavedAdapter,
} from "../state";
import { readBase } from "./adapter";
import { csv } from "../csv";
import { tuner } from "./engine";
import type { AdapterFormat } from "./formats";
import { chooseDestination, saveFile, type FileKind } from "./save";
import { describe, describeRun } from "./describe";
import { writeRun } from "./run-file";

/** Sums in another order differ by less than this in the logits, other weights by far more. */
const TOLERANCE = 1e-4;

/** What the check asks where there is no prompt. */
const ANY_PROMPT = "The";

/** What the check of a written file asks. */
export const checkPrompt = (): string => prompt.value.trim() || chosenSet.value?.prompts[0] || ANY_PROMPT;

/** A download's key in `downloads`. */
export const keyOf = (format: AdapterFormat, copy: SavedAdapter) => `${format.id}/${fileName(copy, "")}`;

/** After the model, the data, the rank and the step. */
export function fileName({ files, step, data }: SavedAdapter, extension: string): string {
  const { r, name } = readBase(files.config);
  const rank = r === undefined ? [] : [`r${r}`];
  return [...parts(name ?? modelInfo.value?.name ?? "", data), ...rank, "step", step].join("-") + extension;
}

const parts = (model: string, data: string) => [slug(model.split("/").pop() ?? ""), slug(data.replace(/\.\w+$/, ""))].filter(Boolean);

const slug = (text: string) =>
  text
    .normalize("NFKD")
    .toLowerCase()
    .replace(/[^\p{L}\p{N}._]+/gu, "-")
    .replace(/^[-.]+|[-.]+$/g, "");

/** Writes the adapter, reads the written file back, has the engine load it afresh and compare, and then says so. */
export async function downloadAdapter(format: AdapterFormat, copy: SavedAdapter, key = keyOf(format, copy)): Promise<void> {
  await reporting(key, async () => {
    const destination = await chooseDestination(fileName(copy, format.extension), format);
    if (!destination) return undefined;
    report(key, { name: "writing" });
    const { name: file } = destination;
    try {
      const written = await destination.write(await tuner().exportAdapter({ adapter: copy.files, format: format.id }));
      report(key, { name: "checking" });
      const read = await tuner().importAdapter(written, format.id, file);
      const check = await compareLogits(copy, read);
      if ("reason" in check) {
        destination.deliver();
        return { name: "unchecked", file, ...check };
      }
      // Not a number is a difference too.
      if (!(check.difference <= TOLERANCE)) {
        throw new Error(`The written file gives other logits than the adapter (by up to ${check.difference}). It must not be used; please report it.`);
      }
      destination.deliver();
      return { name: "checked", file, ...check };
    } catch (error) {
      await destination.discard();
      throw error;
    }
  });
}

type Check = { difference: number; against: "memory" | "copy" } | { reason: string };

/** Against the adapter in the engine where it is still of the copy's step, otherwise against the copy on the page. */
async function compareLogits(copy: SavedAdapter, files: AdapterFiles): Promise<Check> {
  // Another model of the same shape would take it, too.
  if (model.value.name !== "failed" && !isOfModel(copy)) return { reason: `it was trained on ${copy.model.info.name}` };
  const text = checkPrompt();
  const { id, start, last } = run.value;
  const isOfStep = copy === savedAdapter.value && copy.run === id && !stepping.value && (last ?? start)?.step === copy.step;
  if (isOfStep && loadedAdapters.value.some((other) => other.id === id)) {
    const { max_difference } = await tuner().checkAdapter(id, files, text);
    return { difference: max_difference, against: "memory" };
  }
  const own = `copy/${crypto.randomUUID()}`;
  try {
    await tuner().loadAdapter(own, copy.files);
  } catch (error) {
    return { reason: messageOf(error) };
  }
  try {
    const { max_difference } = await tuner().checkAdapter(own, files, text);
    return { difference: max_difference, against: "copy" };
  } finally {
    await tuner().dropAdapter(own);
  }
}

/** Without the engine: after a crash, and of an earlier visit. */
export function saveUnchecked(copy: SavedAdapter): void {
  saveFile(zipAdapter(copy.files), fileName(copy, ".zip"));
}

export interface PlainFile extends FileKind {
  id: string;
  title: string;
  hint: string;
  /** Without its extension. */
  name: () => string;
  content: () => BlobPart;
}

/** The run file of the run that the page would start, or of a kept one. */
export const runFile = (kept?: KeptRun): PlainFile => ({
  id: `run/${kept?.id}`,
  title: "Run file",
  hint: "All settings, without data and tokens.",
  description: "Run file",
  type: "application/json",
  extension: ".json",
  name: () => "run",
  content: () => {
    const described = kept ? describe(kept) : describeRun();
    if (!described) throw new Error("There is no run to write down: load a model and choose data.");
    return writeRun(described);
  },
});

const logName = ({ model, data }: KeptRun) => [...parts(model.info.name, data.set ?? data.train.name), "log"].join("-");

/** A kept run's steps, or those made so far. */
const stepsOf = (kept: KeptRun) => (kept.id === run.value.id ? steps.value : kept.steps);

/** A kept run's log. */
export const logsOf = (kept: KeptRun): PlainFile[] => [
  {
    id: `log/jsonl/${kept.id}`,
    title: "Log as JSON Lines",
    hint: "One object per step, as the program’s --log writes it.",
    description: "JSON Lines",
    type: "application/x-ndjson",
    extension: ".jsonl",
    name: () => logName(kept),
    content: () => stepsOf(kept).map((step) => `${JSON.stringify(step)}\n`).join(""),
  },
  {
    id: `log/csv/${kept.id}`,
    title: "Log as CSV",
    hint: "One row per step, for a spreadsheet.",
    description: "CSV",
    type: "text/csv",
    extension: ".csv",
    name: () => logName(kept),
    content: () =>
      csv(
        ["step", "loss", "eval_loss", "lr", "grad_norm", "tokens", "tokens_per_second"],
        stepsOf(kept).map(({ step, loss, eval_loss, lr, grad_norm, tokens, tokens_per_second }) => [
          step,
          loss,
          eval_loss,
          lr,
          grad_norm,
          tokens,
          tokens_per_second,
        ]),
      ),
  },
];

/** A sweep's runs as a table. */
export const sweepFile = (): PlainFile => ({
  id: "sweep",
  title: "Sweep",
  hint: "One row per run.",
  description: "CSV",
  type: "text/csv",
  extension: ".csv",
  name: () => [...parts(modelInfo.value?.name ?? "", sweep.value.data), "sweep"].join("-"),
  content: () =>
    csv(
      ["r", "lora_alpha", "target_modules", "trainable_parameters", "eval_loss", "best_step", "seconds", "state"],
      sweep.value.rows.map(({ r, lora_alpha, targets, trainable, evalLoss, bestStep, seconds, status }) => [
        r,
        lora_alpha,
        targets.target_modules.join(" "),
        trainable,
        evalLoss,
        bestStep,
        seconds,
        status,
      ]),
    ),
});

export async function downloadFile(file: PlainFile): Promise<void> {
  await reporting(file.id, async () => {
    const destination = await chooseDestination(file.name() + file.extension, file);
    if (!destination) return undefined;
    try {
      await destination.write(new Blob([file.content()], { type: file.type }));
    } catch (error) {
      await destination.discard();
      throw error;
    }
    destination.deliver();
    return { name: "saved", file: destination.name };
  });
}

/** Shows what comes out of a download, or its error; nothing if the user has cancelled it. */
async function reporting(key: string, act: () => Promise<DownloadState | undefined>): Promise<void> {
  try {
    report(key, await act());
  } catch (error) {
    report(key, { name: "failed", message: messageOf(error) });
  }
}

export function report(key: string, state: DownloadState | undefined): void {
  const { [key]: _, ...others } = downloads.value;
  downloads.value = state ? { ...others, [key]: state } : others;
}

const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error));
