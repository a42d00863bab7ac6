/** Whether this browser can do it, asked before anything large is downloaded. */
import { UnsupportedError, type NoGpuReason } from "./errors";

const MESSAGES: Record<NoGpuReason, string> = {
  insecure: "Browsers give a page the GPU only over a secure connection. Open this page over https://, or from localhost.",
  "no-webgpu": "Postil computes on the GPU through WebGPU, and this browser does not have it.",
  "no-adapter":
    "This browser has WebGPU but offers no GPU to it. The graphics driver may be too old or blocked, or hardware acceleration may be switched off in the browser's settings.",
};

/** Throws `UnsupportedError` with the reason. */
export async function requireGpu(): Promise<void> {
  const { gpu } = navigator as Navigator & { gpu?: { requestAdapter(): Promise<object | null> } };
  if (!isSecureContext) throw missing("insecure");
  if (!gpu) throw missing("no-webgpu");
  if (!(await gpu.requestAdapter().catch(() => null))) throw missing("no-adapter");
}

const missing = (reason: NoGpuReason) => new UnsupportedError(MESSAGES[reason], "NoGpu", true, reason);
