/** The engine as a whole: whether it is there, and on what it runs. */
import { signal } from "@preact/signals";
import type { DeviceInfo, NoGpuReason, PostilError } from "postil";

export type Phase =
  | { name: "starting" }
  | { name: "unsupported"; reason: NoGpuReason; message: string }
  | { name: "failed"; message: string }
  | { name: "ready" }
  | { name: "crashed"; failure: PostilError };

/** A newer page has been fetched, and waits until every tab of this one is closed. */
export const newVersion = signal(false);

export const phase = signal<Phase>({ name: "starting" });
export const device = signal<DeviceInfo | undefined>(undefined);
