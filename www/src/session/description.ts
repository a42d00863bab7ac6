/** A run in the words that the run file, the command line and the script have in common. */
import type { DataFile } from "postil";
import type { DataSet, Settings } from "../state";

/** A file by its name, and as what it is read. */
export interface FileUse extends Pick<DataFile, "name" | "format" | "columns"> {
  /** Without `columns`: those that are known by their names. Other programs have to be told. */
  known?: Record<string, string> | undefined;
}

export interface Description {
  /** The built-in model, one on the Hub (`owner/name[/file.gguf][@revision]`), or a folder or file on the user's disk. */
  model: { builtIn: true } | { hub: string } | { disk: string; gguf?: boolean | undefined };
  data: { set: DataSet } | { train: FileUse; eval?: FileUse };
  /** What the engine found the records to be: "messages", "ShareGPT", "prompt/completion", "Alpaca", "text". */
  records?: string | undefined;
  /** Every linear module of the model is chosen. */
  allModules: boolean;
  /** An adapter that the run starts from, by the name of its folder. */
  initAdapter?: string;
  settings: Settings;
}

/** A path that no program takes for an option, or for one of its own words. */
export const path = (name: string): string => (/^[-~]|^demo(:|$)/.test(name) ? `./${name}` : name);

export function modelName({ model }: Description): string {
  if ("builtIn" in model) return "demo";
  return "hub" in model ? model.hub : `./${model.disk}`;
}
