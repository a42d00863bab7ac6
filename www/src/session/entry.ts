/** What a run begins with: its samples' prompts, and its entry among the runs that are kept. */
import type { DataFile, ModelSource, SampleOptions, StartReport } from "postil";
import { freeTitle } from "./history";
import {
  chat,
  chosenSet,
  device,
  evalFile,
  evaluations,
  modelInfo,
  modelSource,
  prompt,
  sampleSettings,
  trainFile,
  type InitAdapter,
  type KeptData,
  type KeptRun,
  type LastingSource,
  type LoadedFile,
  type SampleSettings,
  type Settings,
} from "../state";

/** Prompts of a data set that are sampled while a run goes on, and of the user's own at most. */
const SAMPLED = 2;
export const MOST_SAMPLED = 4;

export interface Beginning {
  id: string;
  settings: Settings;
  train: DataFile;
  evaluation: DataFile | undefined;
  /** The adapter that it starts from, if not from a new one. */
  init?: InitAdapter | undefined;
  sampling?: SampleOptions | undefined;
  /** What the run is called, if not after its data and rank. */
  title?: string;
}

/** What a run that starts now would be sampled with. */
export function promptsToSample(): string[] {
  const { every, prompts } = sampleSettings.value;
  if (!(every >= 1)) return [];
  const own = prompts.filter(isText);
  return own.length > 0 ? [...new Set(own)] : (chosenSet.value?.prompts.slice(0, SAMPLED) ?? [prompt.value].filter(isText));
}

const isText = (text: string) => text.trim() !== "";

export const changeSamples = (part: Partial<SampleSettings>) => (sampleSettings.value = { ...sampleSettings.value, ...part });

/** One of the user's own prompts; those that are empty at the end are none. */
export function writeSamplePrompt(index: number, text: string): void {
  const prompts = sampleSettings.value.prompts.toSpliced(index, 1, text);
  changeSamples({ prompts: prompts.slice(0, prompts.findLastIndex((other) => other !== "") + 1) });
}

export function samplingNow(): SampleOptions | undefined {
  const prompts = promptsToSample();
  const { every, max_new_tokens } = sampleSettings.value;
  if (prompts.length === 0 || !(max_new_tokens >= 1)) return undefined;
  return { every: Math.round(every), prompts, max_new_tokens, chat: chat.value };
}

/** What is kept of a run from its first moment. */
export function newEntry(what: Beginning, { total_steps, examples, warnings }: StartReport): KeptRun {
  const { id, settings, train, sampling } = what;
  const { name, device_type } = device.value ?? { name: "", device_type: "" };
  return {
    id,
    title: freeTitle(what.title ?? `${chosenSet.value?.title ?? train.name}, rank ${settings.r}`),
    created: Date.now(),
    ...ingredients(what),
    device: device_type === "Cpu" ? "the processor" : name,
    settings,
    status: "training",
    total_steps,
    examples,
    warnings,
    steps: [],
    evaluations: evaluations.value,
    ...(sampling ? { sampling } : {}),
    samples: [],
    seconds: 0,
    secondsHidden: 0,
    bytes: {},
  };
}

/** What a run is made of beside its settings. */
export function ingredients({ train, evaluation, init }: Pick<Beginning, "train" | "evaluation" | "init">): Required<Pick<KeptRun, "model" | "data" | "told">> {
  const set = chosenSet.value;
  const source = lasting();
  return {
    model: { info: modelInfo.value!, ...(source ? { source } : {}) },
    data: {
      title: set?.title ?? train.name,
      ...(set ? { set: set.id } : {}),
      train: described(train),
      ...(evaluation ? { evaluation: described(evaluation) } : {}),
    },
    told: {
      ...(trainFile.value?.report ? { records: trainFile.value.report.format } : {}),
      known: { train: known(trainFile.value), evaluation: known(evalFile.value) },
      isGguf: isGgufFile(modelSource.value),
      ...(init ? { initAdapter: init.name } : {}),
    },
  };
}

/** Of the columns that the engine knows, those that the file has. */
function known({ report, columns = [] }: Partial<LoadedFile> = {}): Record<string, string> {
  return Object.fromEntries(Object.entries(report?.columns ?? {}).filter(([, column]) => columns.includes(column)));
}

/** There is nothing beside it. */
const isGgufFile = (source: ModelSource | undefined) => !!source && "texts" in source && Object.keys(source.texts).length === 0;

const described = ({ data: _, ...rest }: DataFile): KeptData => rest;

/** Where the model can be had again; without the token. */
function lasting(): LastingSource | undefined {
  const source = modelSource.value;
  if (!source || "texts" in source) return undefined;
  return "hub" in source ? { name: source.name, hub: source.hub } : source;
}
