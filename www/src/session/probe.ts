/** Files that may end the engine are read by a worker of their own first. */
import type { DataFile } from "postil-engine";
import type { Probed } from "../probe";

/** How Parquet begins: the crate that reads it panics on some damaged files, which WebAssembly cannot catch. */
const PARQUET = "PAR1";

const probed = new WeakMap<DataFile, Promise<string | undefined>>();

/** Why the engine must not be given a file, if it must not. */
export async function harm(file: DataFile): Promise<string | undefined> {
  if (new TextDecoder().decode(file.data.subarray(0, PARQUET.length)) !== PARQUET) return undefined;
  const known = probed.get(file) ?? probe(file);
  probed.set(file, known);
  return await known;
}

async function probe(file: DataFile): Promise<string | undefined> {
  const worker = new Worker(new URL("../probe.ts", import.meta.url), { type: "module", name: "postil-probe" });
  try {
    return await new Promise((resolve) => {
      worker.onmessage = ({ data }: MessageEvent<Probed>) =>
        resolve(data.readable ? undefined : `${file.name}: damaged Parquet, or too large for this page; save the file again, or use the program postil.`);
      worker.onerror = (event) => {
        event.preventDefault();
        resolve(`${file.name} could not be checked (${event.message || "the network failed"}); choose it again to try again.`);
      };
      worker.postMessage(file);
    });
  } finally {
    worker.terminate();
  }
}
