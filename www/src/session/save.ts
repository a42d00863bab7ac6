/** Files to the user's disk: where the user chooses, or among the downloads where a browser has no such choice. */

/** Chromium's part of the File System Access API, which TypeScript's library does not have. */
interface SaveFilePicker {
  showSaveFilePicker?(options: {
    suggestedName: string;
    types: { description: string; accept: Record<string, string[]> }[];
  }): Promise<FileSystemFileHandle & { remove?(): Promise<void> }>;
}

export interface FileKind {
  description: string;
  type: string;
  /** With its dot. */
  extension: string;
}

export interface Destination {
  name: string;
  /** Writes the file and gives back what is then in it. */
  write(blob: Blob): Promise<Blob>;
  /** The file is as it should be: the user gets it. */
  deliver(): void;
  /** It is not. */
  discard(): Promise<void>;
}

/** Asks where a file is to go; `undefined` if the user has thought better of it. At once after a click. */
export async function chooseDestination(name: string, { description, type, extension }: FileKind): Promise<Destination | undefined> {
  const { showSaveFilePicker } = window as SaveFilePicker;
  if (!showSaveFilePicker) return downloaded(name);
  try {
    const types = [{ description, accept: { [type]: [extension] } }];
    const handle = await showSaveFilePicker.call(window, { suggestedName: name, types });
    return {
      name: handle.name,
      async write(blob) {
        const stream = await handle.createWritable();
        try {
          await stream.write(blob);
          await stream.close();
        } catch (error) {
          // Until then the file cannot be removed.
          await stream.abort().catch(() => {});
          throw error;
        }
        return await handle.getFile();
      },
      deliver() {},
      async discard() {
        await handle.remove?.().catch(() => {});
      },
    };
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") return undefined;
    // Not allowed here, as in a frame of another site.
    return downloaded(name);
  }
}

function downloaded(name: string): Destination {
  let written = new Blob();
  return {
    name,
    write: async (blob) => (written = blob),
    deliver: () => saveFile(written, name),
    discard: async () => {},
  };
}

/** Puts a file among the browser's downloads. */
export function saveFile(blob: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  // The browser has taken hold of the data by the next task.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
