/** A worker that reads one data file and goes away: what makes it trap costs nobody the engine. */
import init, { check_data, type DataFile } from "postil-engine";

/** Whether the file can be read without a trap; what else is wrong with it is for the engine to say. */
export interface Probed {
  readable: boolean;
}

const port = self as unknown as MessagePort;

port.onmessage = async ({ data }: MessageEvent<DataFile>) => {
  await init();
  let readable = true;
  try {
    check_data(data);
  } catch (error) {
    readable = !(error instanceof WebAssembly.RuntimeError);
  }
  port.postMessage({ readable } satisfies Probed);
};
