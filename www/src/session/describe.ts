/** The run that the page would start, in words for other programs. */
import { chosenSet, initAdapter, modelInfo, modelSource, settings, trainFile, evalFile } from "../state";
import { BUILT_IN } from "./boot";
import type { Description } from "./description";
import { sharedName } from "./models";

/** Nothing while there is no model or no data. */
export function describeRun(): Description | undefined {
  const [source, info, train] = [modelSource.value, modelInfo.value, trainFile.value];
  if (!source || !info || !train) return undefined;
  const hub = sharedName(source);
  const evaluation = evalFile.value?.file;
  const name = initAdapter.value?.name.replace(/\.(zip|safetensors)$/i, "");
  return {
    model: source === BUILT_IN ? { builtIn: true } : hub ? { hub } : { disk: source.name },
    data: chosenSet.value
      ? { set: chosenSet.value }
      : { train: train.file, ...(evaluation ? { eval: evaluation } : {}) },
    records: train.report?.format,
    allModules: info.target_modules.every((name) => settings.value.target_modules.includes(name)),
    ...(name ? { initAdapter: name } : {}),
    settings: settings.value,
  };
}
