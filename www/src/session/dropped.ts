/** What was dropped on the page: files, and the files of folders. */
import { active, generating, model, modelNotices } from "../state";
import { loadModel } from "./boot";
import { fromFiles } from "./models";

/** More than any model has; ends a folder that was not meant. */
const MAX_FILES = 2000;

/** Loads the model that was dropped, or says why not. */
export async function dropModel(transfer: DataTransfer): Promise<void> {
  const files = droppedFiles(transfer);
  const say = (text: string) => (modelNotices.value = [{ kind: "error", text }]);
  if (active.value || generating.value || model.value.name === "loading") {
    say("What was dropped was not loaded: the engine is at work. Drop it again afterwards.");
    return;
  }
  try {
    const source = await fromFiles(await files);
    if (typeof source === "string") say(source);
    else await loadModel(source);
  } catch (error) {
    say(error instanceof Error ? error.message : String(error));
  }
}

/** Has to be called while the event is handled: afterwards the browser takes the list away. */
export async function droppedFiles(transfer: DataTransfer): Promise<File[]> {
  const entries = [...transfer.items].flatMap((item) => (item.kind === "file" ? (item.webkitGetAsEntry() ?? []) : []));
  if (entries.length === 0) return [...transfer.files];
  const files: File[] = [];
  for (const entry of entries) files.push(...(await filesOf(entry)));
  return files;
}

/** A file, or the files directly in a folder, with the folder in their paths as a folder chooser gives them. */
async function filesOf(entry: FileSystemEntry): Promise<File[]> {
  if (isFile(entry)) return [await read(entry)];
  if (!isFolder(entry)) return [];
  const inside = (await list(entry)).filter(isFile);
  return await Promise.all(
    inside.map(async (child) => {
      const file = await read(child);
      Object.defineProperty(file, "webkitRelativePath", { value: `${entry.name}/${file.name}` });
      return file;
    }),
  );
}

const isFile = (entry: FileSystemEntry): entry is FileSystemFileEntry => entry.isFile;
const isFolder = (entry: FileSystemEntry): entry is FileSystemDirectoryEntry => entry.isDirectory;

const read = (entry: FileSystemFileEntry) => new Promise<File>((resolve, reject) => entry.file(resolve, reject));

/** Browsers give a folder's entries a hundred at a time. */
async function list(folder: FileSystemDirectoryEntry): Promise<FileSystemEntry[]> {
  const reader = folder.createReader();
  const all: FileSystemEntry[] = [];
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return all;
    all.push(...some);
    if (all.length > MAX_FILES)
      throw new Error(`${folder.name} holds more than ${MAX_FILES} files: no model’s folder.`);
  }
}
