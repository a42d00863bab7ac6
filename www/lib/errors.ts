/** What can go wrong, each kind with a class: `instanceof` tells them apart, and `kind` the finer ones. */

/** `ErrorKind` of `src/error.rs`, and what can happen around the engine. */
export type ErrorKind =
  | "Io"
  | "Format"
  | "Config"
  | "Unsupported"
  | "Data"
  | "NoGpu"
  | "OutOfMemory"
  | "OverBudget"
  | "Device"
  | "NotFinite"
  /** A file could not be had from a server. */
  | "Download"
  /** It was ended before it was done, and left nothing behind. */
  | "Cancelled"
  /** The worker's script could not be loaded, or it ended. */
  | "Worker"
  /** The engine's module has trapped. */
  | "Trap"
  /** A mistake of the program's own. */
  | "Internal";

/** Any error of this package. The message is complete: what, where, what was expected and found, what to do. */
export class PostilError extends Error {
  override name = "PostilError";

  constructor(
    message: string,
    readonly kind: ErrorKind = "Internal",
    /** The tuner cannot be used any more: make another one. */
    readonly fatal = false,
  ) {
    super(message);
  }
}

/** An option has a value that cannot be used, or something is asked for at a moment at which it cannot be. */
export class ConfigError extends PostilError {
  override name = "ConfigError";

  constructor(message: string, kind: ErrorKind = "Config", fatal = false) {
    super(message, kind, fatal);
  }
}

/** The data cannot be trained on. */
export class DataError extends PostilError {
  override name = "DataError";

  constructor(message: string, kind: ErrorKind = "Data", fatal = false) {
    super(message, kind, fatal);
  }
}

/** A file is not what it claims to be, or is missing among those of a model or an adapter. */
export class FormatError extends PostilError {
  override name = "FormatError";

  constructor(message: string, kind: ErrorKind = "Format", fatal = false) {
    super(message, kind, fatal);
  }
}

/** A file or a Blob could not be read, or a disk not written. */
export class IoError extends PostilError {
  override name = "IoError";

  constructor(message: string, kind: ErrorKind = "Io", fatal = false) {
    super(message, kind, fatal);
  }
}

/** A file could not be had from the Hub or another server; the model that was loaded before is still there. */
export class DownloadError extends PostilError {
  override name = "DownloadError";

  constructor(message: string, kind: ErrorKind = "Download", fatal = false) {
    super(message, kind, fatal);
  }
}

/** Why there is no GPU to be had. */
export type NoGpuReason =
  /** The page did not come over a secure connection (https, or localhost). */
  | "insecure"
  /** The browser has no WebGPU. */
  | "no-webgpu"
  /** The browser has WebGPU, and no GPU for it. */
  | "no-adapter";

/** This browser or this version cannot do it: kind `NoGpu` with the reason, or `Unsupported`. */
export class UnsupportedError extends PostilError {
  override name = "UnsupportedError";
  readonly reason: NoGpuReason | undefined;

  constructor(message: string, kind: ErrorKind = "Unsupported", fatal = false, reason?: NoGpuReason) {
    super(message, kind, fatal);
    this.reason = reason ?? (kind === "NoGpu" ? "no-adapter" : undefined);
  }
}

/**
 * Too little memory. Kind `OverBudget`: it was planned, found too large and not begun. Kind `OutOfMemory`: the device
 * refused it, and if the error is `fatal`, what was on the GPU is lost.
 */
export class OutOfMemoryError extends PostilError {
  override name = "OutOfMemoryError";

  constructor(message: string, kind: ErrorKind = "OutOfMemory", fatal = false) {
    super(message, kind, fatal);
  }
}

/** The GPU was taken away: the driver restarted, the computer slept, or memory ran out. Always fatal. */
export class DeviceLostError extends PostilError {
  override name = "DeviceLostError";

  constructor(message: string, kind: ErrorKind = "Device", fatal = true) {
    super(message, kind, fatal);
  }
}

/** A loss or a gradient is no finite number; the run has ended. */
export class NotFiniteError extends PostilError {
  override name = "NotFiniteError";

  constructor(message: string, kind: ErrorKind = "NotFinite", fatal = false) {
    super(message, kind, fatal);
  }
}

/** It was ended before it was done: by `dispose`, by `stop`, or by a newer one of its like. An `AbortSignal` gives its own reason. */
export class CancelledError extends PostilError {
  override name = "CancelledError";

  constructor(message: string, kind: ErrorKind = "Cancelled", fatal = false) {
    super(message, kind, fatal);
  }
}

/** A mistake of the program's own, or a worker that could not be loaded: kinds `Internal`, `Trap` and `Worker`. */
export class InternalError extends PostilError {
  override name = "InternalError";

  constructor(message: string, kind: ErrorKind = "Internal", fatal = false) {
    super(message, kind, fatal);
  }
}

/** The class of each kind. */
export const ERRORS: Readonly<Record<ErrorKind, new (message: string, kind: ErrorKind, fatal: boolean) => PostilError>> = {
  Io: IoError,
  Format: FormatError,
  Config: ConfigError,
  Unsupported: UnsupportedError,
  Data: DataError,
  NoGpu: UnsupportedError,
  OutOfMemory: OutOfMemoryError,
  OverBudget: OutOfMemoryError,
  Device: DeviceLostError,
  NotFinite: NotFiniteError,
  Download: DownloadError,
  Cancelled: CancelledError,
  Worker: InternalError,
  Trap: InternalError,
  Internal: InternalError,
};

/** An error as it comes through the worker's messages. */
export interface Failure {
  kind: ErrorKind;
  message: string;
  /** The engine cannot be used any more: the device is lost or out of memory, or the module has trapped. */
  fatal: boolean;
}

export const toError = ({ kind, message, fatal }: Failure): PostilError => new ERRORS[kind](message, kind, fatal);

/** What to say of an error that is a mistake of the program's own. */
export function trapped(message: string): string {
  return `The engine ran into an error of its own (${message}). The browser's console may say more; please report it.`;
}
