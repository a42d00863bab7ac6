/** Files from servers. */
import { CancelledError, DownloadError } from "./errors";

export interface FetchOptions {
  signal?: AbortSignal | undefined;
  /** `total` is 0 where it is not known. */
  onProgress?: ((done: number, total: number) => void) | undefined;
}

/** A file from a server, whole, with its progress where the server says how long it is. Throws `DownloadError`. */
export async function fetchFile(address: string | URL, { signal, onProgress }: FetchOptions = {}): Promise<Blob> {
  const url = new URL(address, globalThis.document?.baseURI);
  const name = url.pathname.split("/").pop();
  try {
    const response = await fetch(url, signal ? { signal } : {});
    if (!response.ok) {
      throw new DownloadError(`${name} could not be downloaded: the server answered ${response.status} for ${url.href}.`);
    }
    // A compressed answer's length is not the length of what is read.
    const compressed = response.headers.has("Content-Encoding");
    const total = compressed ? 0 : Number(response.headers.get("Content-Length") ?? 0);
    if (!response.body || !onProgress) return await response.blob();
    const parts: Uint8Array<ArrayBuffer>[] = [];
    let done = 0;
    const reader = response.body.getReader();
    for (;;) {
      const { value, done: ended } = await reader.read();
      if (ended) break;
      parts.push(value);
      done += value.length;
      onProgress(done, total);
    }
    if (total > 0 && done !== total) {
      throw new DownloadError(`${name} ended after ${done} of ${total} bytes. Reload the page to try again.`);
    }
    return new Blob(parts);
  } catch (error) {
    if (error instanceof DownloadError) throw error;
    if (signal?.aborted) throw new CancelledError("Loading was cancelled.");
    throw new DownloadError(`${name} could not be downloaded: the connection failed. Check the network and try again.`);
  }
}
