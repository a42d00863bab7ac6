/** The base with an adapter merged into it: a model of its own. */
import type { MergeArguments } from "postil";
import type { SavedAdapter } from "../state";
import { quote } from "./command";
import { checkPrompt, fileName, report } from "./downloads";
import { tuner } from "./engine";
import type { Use } from "./formats";
import { saveFile } from "./save";

/** Chromium's part of the File System Access API, which TypeScript's library does not have. */
interface DirectoryPicker {
  showDirectoryPicker?(options: { mode: "readwrite"; id: string }): Promise<FileSystemDirectoryHandle>;
}

/** The key in `downloads`. One at a time: it takes as much of the disk as the model. */
export const MERGED = "merged";

export const hasFolders = (): boolean => (window as DirectoryPicker).showDirectoryPicker !== undefined;

const nameOf = (copy: SavedAdapter): string => fileName(copy, "-merged");

/** Asks for a place and writes the model there; without folders, as a zip among the downloads. */
export async function writeMerged(copy: SavedAdapter): Promise<void> {
  const name = nameOf(copy);
  const { showDirectoryPicker } = window as DirectoryPicker;
  const merging = new AbortController();
  const { signal } = merging;
  try {
    const folder = await showDirectoryPicker?.call(window, { mode: "readwrite", id: "postil-merged" });
    const started = { name: "merging", stage: "writing", progress: { done: 0, total: 0 }, cancel: () => merging.abort() } as const;
    report(MERGED, started);
    const onProgress: MergeArguments["onProgress"] = ({ stage, ...progress }) => report(MERGED, { ...started, stage, progress });
    const asked = { prompt: checkPrompt(), onProgress, signal };
    const { file, check } = await tuner().exportModel({ adapter: copy.files, name, folder, ...asked });
    if (file) saveFile(file, `${name}.zip`);
    report(MERGED, { name: "merged", file: file ? `${name}.zip` : `${folder?.name}/${name}`, check });
  } catch (error) {
    const isDismissed = error instanceof DOMException && error.name === "AbortError";
    const message = error instanceof Error ? error.message : String(error);
    report(MERGED, signal.aborted || isDismissed ? undefined : { name: "failed", message });
  }
}

export function mergedUses(copy: SavedAdapter): Use[] {
  const folder = nameOf(copy);
  const note = hasFolders() ? {} : { note: "Unpack the zip first." };
  return [
    {
      title: "In Python, with transformers",
      code: `from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained(${JSON.stringify(folder)})
tokenizer = AutoTokenizer.from_pretrained(${JSON.stringify(folder)})`,
      ...note,
    },
    { title: "For llama.cpp: as a GGUF file", code: `python convert_hf_to_gguf.py ${quote(folder)} --outfile ${quote(`${folder}.gguf`)}` },
  ];
}
