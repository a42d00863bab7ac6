/** The forms in which an adapter can be taken away, and how other programs use them. */
import { CONFIG_NAME, MLX_NAME, MODEL_NAME, type AdapterFormat as FormatId } from "postil";
import { modelInfo } from "../state";
import { readBase } from "./adapter";
import { quote } from "./command";
import type { FileKind } from "./save";

/** How another program uses a file. */
export interface Use {
  title: string;
  code: string;
  /** What has to be put in place first. */
  note?: string;
}

export interface AdapterFormat extends FileKind {
  id: FormatId;
  title: string;
  hint: string;
  /** For the adapter with this configuration, in a file of this name. */
  uses(config: Uint8Array, file: string): Use[];
  /** Why it cannot be written for the loaded model. */
  refused?(): string | undefined;
}

export const PEFT: AdapterFormat = {
  id: "peft",
  title: "PEFT adapter",
  hint: `A zip of ${CONFIG_NAME} and ${MODEL_NAME}. It loads unchanged in PEFT and in every program that takes PEFT’s adapters, this one too.`,
  description: "PEFT adapter",
  type: "application/zip",
  extension: ".zip",
  uses: (config, file) => [withPeft(config, file)],
};

export const FORMATS: readonly AdapterFormat[] = [
  PEFT,
  {
    id: "gguf",
    title: "GGUF adapter",
    hint: "One file for llama.cpp, and for Ollama and others that are built on it. It is used beside the base model as GGUF.",
    description: "GGUF adapter",
    type: "application/octet-stream",
    extension: ".gguf",
    uses: withGguf,
    refused: () => modelInfo.value?.refused_formats.gguf,
  },
  {
    id: "mlx",
    title: "mlx adapter",
    hint: `A zip of ${CONFIG_NAME} and ${MLX_NAME} as mlx-lm has them, for Macs with Apple’s chips.`,
    description: "mlx adapter",
    type: "application/zip",
    extension: ".mlx.zip",
    uses: (config, file) => [withMlx(config, file)],
  },
];

/** The base as an adapter's configuration names it; `path` is its name on the Hub, or stands for one's own folder. */
function baseOf(config: Uint8Array): { path: string; revision: string | undefined; onHub: boolean; called: string } {
  const { name, revision } = readBase(config);
  const onHub = name !== undefined && /^[\w.-]+\/[\w.-]+$/.test(name);
  const path = onHub ? name : "path/to/base-model";
  return { path, revision: onHub ? revision : undefined, onHub, called: name ?? "the model it was trained on" };
}

function unpack(folder: string, { onHub, called }: { onHub: boolean; called: string }): string {
  const first = `Unpack the zip to the folder ${folder}.`;
  return onHub ? first : `${first} The base is ${called}: write the path of its folder.`;
}

function withPeft(config: Uint8Array, file: string): Use {
  const base = baseOf(config);
  const pinned = base.revision === undefined ? "" : `, revision=${JSON.stringify(base.revision)}`;
  const folder = file.replace(/\.zip$/, "");
  return {
    title: "In Python, with PEFT",
    code: `from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = AutoModelForCausalLM.from_pretrained("${base.path}"${pinned})
tokenizer = AutoTokenizer.from_pretrained("${base.path}"${pinned})
model = PeftModel.from_pretrained(base, "${folder}")`,
    note: unpack(folder, base),
  };
}

function withMlx(config: Uint8Array, file: string): Use {
  const base = baseOf(config);
  const folder = file.replace(/\.zip$/, "");
  return {
    title: "On a Mac, with mlx-lm",
    code: `mlx_lm.generate --model ${base.path} --adapter-path ${quote(folder)} --prompt "…"`,
    note: unpack(folder, base),
  };
}

function withGguf(config: Uint8Array, file: string): Use[] {
  const { called } = baseOf(config);
  const [model] = /[^/]+\.gguf$/i.exec(called) ?? ["base.gguf"];
  const isThere = model === called.split("/").pop();
  const note = isThere
    ? `The base is ${called}.`
    : `${model} is the base, ${called}, as a GGUF file: llama.cpp’s convert_hf_to_gguf.py makes one of its folder.`;
  return [
    { title: "With llama.cpp", code: `llama-cli -m ${quote(model)} --lora ${quote(file)} -p "…"`, note },
    {
      title: "With Ollama: a file called Modelfile",
      code: `FROM ./${model}\nADAPTER ./${file}`,
      note: "Put it beside the two files that it names.",
    },
    { title: "With Ollama: in that folder", code: "ollama create my-model -f Modelfile\nollama run my-model" },
  ];
}
