/** A large file from the Hub into the store, in segments of which several are under way. */
import type { HubClient, Sized } from "./client";
import { StorageFull, writeAll, type StoredModel } from "./cache";

const SEGMENT_BYTES = 16 * 2 ** 20;
const IN_FLIGHT = 4;

/** Downloads what of `file` is not in the store yet. `onBytes` is told of every byte, those already there at once. */
export async function downloadFile(
  client: HubClient,
  stored: StoredModel,
  file: string,
  sized: Sized,
  onBytes: (bytes: number) => void,
): Promise<void> {
  const { commit, files } = stored.manifest;
  const { size, ranges } = sized;
  const length = ranges ? SEGMENT_BYTES : size;
  const count = Math.ceil(size / length);
  const bounds = (i: number) => [i * length, Math.min(size, (i + 1) * length)] as const;
  const bytesOf = (i: number) => bounds(i)[1] - bounds(i)[0];

  const known = files[file];
  // A server without ranges cannot go on from anywhere.
  const there = new Set(ranges && known?.size === size ? known.segments : []);
  const missing = Array.from({ length: count }, (_, i) => i).filter((i) => !there.has(i));
  const writer = await stored.writer(file);
  // Open all the while: opening it anew for every segment was seen never to end.
  const record = await stored.record().catch((error: unknown) => {
    writer.close();
    throw error;
  });
  try {
    writer.truncate(size);
    if (writer.getSize() !== size) throw new StorageFull(`${writer.getSize()} of ${size} bytes were reserved`);
    onBytes([...there].reduce((sum, i) => sum + bytesOf(i), 0));
    const work = async () => {
      for (let i = missing.shift(); i !== undefined; i = missing.shift()) {
        let at = bounds(i)[0];
        await client.stream(commit, file, sized, bounds(i), (offset, bytes) => {
          writeAll(writer, bytes, offset);
          // Less than nothing when a server without ranges begins again.
          onBytes(offset + bytes.length - at);
          at = offset + bytes.length;
        });
        writer.flush();
        there.add(i);
        files[file] = { size, segments: [...there] };
        record.save();
      }
    };
    // The file stays open until the last worker has ended; after a failure none begins another segment.
    const workers = Array.from({ length: IN_FLIGHT }, () =>
      work().catch((error: unknown) => {
        missing.length = 0;
        throw error;
      }),
    );
    const failed = (await Promise.allSettled(workers)).find((end) => end.status === "rejected");
    if (failed) throw failed.reason;
    files[file] = { size };
    record.save();
  } catch (error) {
    throw isQuota(error) ? new StorageFull(String(error)) : error;
  } finally {
    record.close();
    writer.close();
  }
}

export function isQuota(error: unknown): boolean {
  return error instanceof DOMException && error.name === "QuotaExceededError";
}
