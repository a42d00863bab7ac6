/** The one worker of the page. */
import type { Client } from "../client";

let current: Client | undefined;

export function client(): Client {
  if (!current) throw new Error("The worker has not been started.");
  return current;
}

/** Ends the worker there was, and everything it held on the GPU. */
export function useClient(next: Client): void {
  current?.terminate();
  current = next;
}
