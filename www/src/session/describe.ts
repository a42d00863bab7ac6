/** The run that the page would start, in words for other programs. */
import { type LoadedFile, chosenSet, initAdapter, modelInfo, modelSource, runSettings, trainFile, evalFile } from "../state";
import { BUILT_IN } from "./boot";
import type { ModelSource } from "postil";
import type { Description, FileUse } from "./description";
import { sharedName } from "./models";

/** A GGUF file is all of a model: there is nothing beside it. */
const isGgufFile = (source: ModelSource) => "texts" in source && Object.keys(source.texts).length === 0;

/** Of the columns that are known, those that the file has. */
function used({ file, report, columns = [] }: LoadedFile): FileUse {
  const there = Object.entries(report?.columns ?? {}).filter(([, column]) => columns.includes(column));
  return { ...file, known: Object.fromEntries(there) };
}

/** Nothing while there is no model or no data. */
export function describeRun(): Description | undefined {
  const [source, info, train] = [modelSource.value, modelInfo.value, trainFile.value];
  if (!source || !info || !train) return undefined;
  const hub = sharedName(source);
  const evaluation = evalFile.value;
  const name = initAdapter.value?.name.replace(/\.(zip|safetensors)$/i, "");
  return {
    model: source === BUILT_IN ? { builtIn: true } : hub ? { hub } : { disk: source.name, gguf: isGgufFile(source) },
    data: chosenSet.value
      ? { set: chosenSet.value }
      : { train: used(train), ...(evaluation ? { eval: used(evaluation) } : {}) },
    records: train.report?.format,
    allModules: info.target_modules.every((name) => runSettings.value.target_modules.includes(name)),
    ...(name ? { initAdapter: name } : {}),
    settings: runSettings.value,
  };
}
