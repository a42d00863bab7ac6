/** The engine as a whole: whether it is there, and on what it runs. */
import { signal } from "@preact/signals";
import type { DeviceInfo } from "postil-engine";
import type { Failure } from "../protocol";

/** Why this browser cannot run the page. */
export type Unsupported = "insecure" | "no-webgpu" | "no-adapter";

export type Phase =
  | { name: "starting" }
  | { name: "unsupported"; reason: Unsupported; message?: string }
  | { name: "failed"; message: string }
  | { name: "ready" }
  | { name: "crashed"; failure: Failure };

/** A newer page has been fetched, and waits until every tab of this one is closed. */
export const newVersion = signal(false);

export const phase = signal<Phase>({ name: "starting" });
export const device = signal<DeviceInfo | undefined>(undefined);
