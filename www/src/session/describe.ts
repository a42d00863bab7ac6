/** Runs in words for other programs: the one that the page would start, and those that are kept. */
import { dataSets, evalFile, initAdapter, modelInfo, modelSource, runSettings, trainFile, type KeptRun } from "../state";
import type { Description } from "./description";
import { ingredients } from "./entry";
import { sharedName } from "./models";

/** The run that the page would start; nothing while there is no model or no data. */
export function describeRun(): Description | undefined {
  const train = trainFile.value?.file;
  if (!modelSource.value || !modelInfo.value || !train) return undefined;
  const what = { train, evaluation: evalFile.value?.file, init: initAdapter.value };
  return describe({ ...ingredients(what), settings: runSettings.value });
}

/** A kept run, with its own settings. */
export function describe({ model: { info, source }, data, settings, told }: Pick<KeptRun, "model" | "data" | "settings" | "told">): Description {
  const hub = source && sharedName(source);
  const set = dataSets.value.find(({ id }) => id === data.set);
  const name = told?.initAdapter?.replace(/\.(zip|safetensors)$/i, "");
  const { train, evaluation } = told?.known ?? {};
  return {
    model: source && "base" in source ? { builtIn: true } : hub ? { hub } : { disk: info.name, gguf: told?.isGguf },
    data: set
      ? { set }
      : { train: { ...data.train, known: train }, ...(data.evaluation ? { eval: { ...data.evaluation, known: evaluation } } : {}) },
    records: told?.records,
    allModules: info.target_modules.every((module) => settings.target_modules.includes(module)),
    ...(name ? { initAdapter: name } : {}),
    settings,
  };
}
