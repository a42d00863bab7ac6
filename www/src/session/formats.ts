/** The forms in which an adapter can be taken away: those that the engine writes. */
import type { AdapterFiles } from "postil-engine";
import { CONFIG_NAME, MODEL_NAME, readBase, unzipAdapter, zipAdapter } from "./adapter";
import type { FileKind } from "./save";

/** How another program uses a file. */
export interface Use {
  title: string;
  code: string;
  /** What has to be put in place first. */
  note?: string;
}

export interface AdapterFormat extends FileKind {
  id: string;
  title: string;
  hint: string;
  write(files: AdapterFiles): Promise<Blob>;
  /** The adapter in a file that `write` made: what the check loads. */
  read(name: string, file: Blob): Promise<AdapterFiles>;
  /** For the adapter with this configuration, in a file of this name. */
  uses(config: Uint8Array, file: string): Use[];
}

export const FORMATS: readonly AdapterFormat[] = [
  {
    id: "peft",
    title: "PEFT adapter",
    hint: `A zip of ${CONFIG_NAME} and ${MODEL_NAME}. It loads unchanged in PEFT and in every program that takes PEFT’s adapters, this one too.`,
    description: "PEFT adapter",
    type: "application/zip",
    extension: ".zip",
    write: async (files) => zipAdapter(files),
    read: unzipAdapter,
    uses: (config, file) => [withPeft(config, file)],
  },
];

function withPeft(config: Uint8Array, file: string): Use {
  const { name, revision } = readBase(config);
  const onHub = name !== undefined && /^[\w.-]+\/[\w.-]+$/.test(name);
  const base = onHub ? name : "path/to/base-model";
  const pinned = onHub && revision !== undefined ? `, revision=${JSON.stringify(revision)}` : "";
  const folder = file.replace(/\.zip$/, "");
  return {
    title: "In Python, with PEFT",
    code: `from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = AutoModelForCausalLM.from_pretrained("${base}"${pinned})
tokenizer = AutoTokenizer.from_pretrained("${base}"${pinned})
model = PeftModel.from_pretrained(base, "${folder}")`,
    note: onHub
      ? `Unpack the zip to the folder ${folder}.`
      : `Unpack the zip to the folder ${folder}. The base is ${name ?? "the model it was trained on"}: write the path of its folder.`,
  };
}
