/** Requests to the Hub: ranges, tries, and what its refusals mean. */
import { CancelledError, DownloadError } from "../errors";
import { isFileName, resolveUrl, revisionUrl, type HubModel } from "./name";

/** Tries in a row that bring nothing before it is given up, and the wait after the first; it doubles from there. */
const TRIES = 5;
const FIRST_WAIT_MS = 500;
/** The longest wait that a server may ask for. */
const MAX_WAIT_MS = 60_000;
/** The longest silence of a server. */
const SILENCE_MS = 60_000;

/** The most bytes of a file that is kept in memory; the largest are tokenizers, of some tens of MiB. */
const MAX_SMALL_FILE = 256 * 2 ** 20;

/** The server was not reached, was overloaded or broke off: the same request may succeed later. */
export class Unreachable extends DownloadError {
  constructor(
    message: string,
    readonly waitMs?: number,
  ) {
    super(message);
  }
}

/** A revision's commit and the files in it. */
export interface Revision {
  commit: string;
  files: string[];
}

/** A file's length, and whether the server sends parts of it. */
export interface Sized {
  size: number;
  ranges: boolean;
}

export class HubClient {
  constructor(
    readonly model: HubModel,
    private readonly token: string | undefined,
    readonly signal: AbortSignal,
  ) {}

  async revision(): Promise<Revision> {
    const text = await this.attempt(async () => {
      const response = await this.request(revisionUrl(this.model), undefined, "");
      return new TextDecoder().decode(await this.whole(response, this.model.repo));
    });
    const info = parse(text) as { sha?: unknown; siblings?: { rfilename?: unknown }[] } | undefined;
    const files = (info?.siblings ?? []).map(({ rfilename }) => rfilename).filter((name) => typeof name === "string");
    if (typeof info?.sha !== "string" || !isFileName(info.sha) || info.sha.includes("/") || files.length === 0) {
      throw new DownloadError(`${this.model.address} does not answer as a Hub: it names no commit or no files.`);
    }
    return { commit: info.sha, files };
  }

  async size(commit: string, file: string): Promise<Sized> {
    return await this.attempt(async () => {
      const response = await this.request(resolveUrl(this.model, commit, file), "bytes=0-0", file);
      await response.body?.cancel();
      const ranges = response.status === 206;
      const text = ranges ? response.headers.get("Content-Range")?.split("/")[1] : response.headers.get("Content-Length");
      const size = Number(text ?? Number.NaN);
      if (Number.isSafeInteger(size) && size > 0) return { size, ranges };
      throw new DownloadError(`${file}: the server does not tell its length.`);
    });
  }

  /** A small file, whole. */
  async bytes(commit: string, file: string): Promise<Uint8Array<ArrayBuffer>> {
    return await this.attempt(async () => {
      const response = await this.request(resolveUrl(this.model, commit, file), undefined, file);
      return await this.whole(response, file);
    });
  }

  /** An answer's body, as long as it is no longer than a small file may be. */
  private async whole(response: Response, file: string): Promise<Uint8Array<ArrayBuffer>> {
    const pieces: Uint8Array<ArrayBuffer>[] = [];
    let length = 0;
    const reader = response.body?.getReader();
    while (reader) {
      const { value } = await this.read(reader, file);
      if (!value) break;
      length += value.length;
      if (length > MAX_SMALL_FILE) {
        void reader.cancel().catch(() => {});
        throw new DownloadError(`${file}: the server sends more than ${MAX_SMALL_FILE / 2 ** 20} MiB, which is no file of this kind.`);
      }
      pieces.push(value);
    }
    const bytes = new Uint8Array(length);
    let at = 0;
    for (const piece of pieces) {
      bytes.set(piece, at);
      at += piece.length;
    }
    return bytes;
  }

  private async read(reader: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>>, file: string) {
    return await within(reader.read(), SILENCE_MS).catch((error: unknown) => {
      void reader.cancel().catch(() => {});
      return this.broken(file, error);
    });
  }

  /**
   * Hands a file's bytes from `begin` to `end` to `take`, in order. What a broken connection has brought is kept; a
   * server without ranges sends everything again, and `take` is told so by its offset.
   */
  async stream(
    commit: string,
    file: string,
    { size, ranges }: Sized,
    [begin, end]: readonly [number, number],
    take: (offset: number, bytes: Uint8Array<ArrayBuffer>) => void,
  ): Promise<void> {
    let at = begin;
    await this.attempt(
      async () => {
        if (!ranges) at = 0;
        const response = await this.request(resolveUrl(this.model, commit, file), ranges ? `bytes=${at}-${end - 1}` : undefined, file);
        const range = response.headers.get("Content-Range");
        if (ranges && (response.status !== 206 || (range !== null && range !== `bytes ${at}-${end - 1}/${size}`))) {
          await response.body?.cancel();
          const sent = response.status === 206 ? `"${range}"` : "everything";
          throw new DownloadError(`${file}: asked for bytes ${at} to ${end - 1} of ${size}, the server sent ${sent}.`);
        }
        const reader = response.body?.getReader();
        while (reader) {
          const { value } = await this.read(reader, file);
          if (!value) break;
          if (value.length > end - at) {
            void reader.cancel();
            throw new DownloadError(`${file}: the server sends more than the ${end - begin} bytes that were asked for.`);
          }
          take(at, value);
          at += value.length;
        }
        if (at < end) throw new Unreachable(`${file}: the connection ended after ${at} of ${size} bytes.`);
      },
      () => at,
    );
  }

  /** Tries again while the server is unreachable; a try that moved `progress` on starts the count anew. */
  private async attempt<T>(act: () => Promise<T>, progress = () => 0): Promise<T> {
    for (let failed = 0; ; ) {
      const before = progress();
      try {
        this.signal.throwIfAborted();
        return await act();
      } catch (error) {
        if (this.signal.aborted) throw new CancelledError("Loading was cancelled.");
        if (!(error instanceof Unreachable)) throw error;
        failed = progress() > before ? 1 : failed + 1;
        if (failed >= TRIES) throw error;
        await this.pause(Math.min(error.waitMs ?? FIRST_WAIT_MS * 2 ** (failed - 1), MAX_WAIT_MS));
      }
    }
  }

  private async pause(ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
    });
  }

  /** `Range` alone needs no question in advance (a CORS preflight); the token, which does, goes to the Hub only. */
  private async request(url: string, range: string | undefined, file: string): Promise<Response> {
    const headers: Record<string, string> = {
      ...(range ? { Range: range } : {}),
      ...(this.token ? { Authorization: `Bearer ${this.token}` } : {}),
    };
    const options: RequestInit = { headers, signal: this.signal, cache: "no-store", credentials: "omit" };
    const response = await within(fetch(url, options), SILENCE_MS).catch(() => {
      throw new Unreachable(
        `${new URL(url).origin} cannot be reached: there is no connection, or the server does not let this page read from it.`,
      );
    });
    if (!response.ok) {
      await response.body?.cancel();
      throw this.refusal(response, file);
    }
    return response;
  }

  private broken(file: string, error: unknown): never {
    throw new Unreachable(`${file}: the connection broke (${error instanceof Error ? error.message : String(error)}).`);
  }

  private refusal({ status, headers }: Response, file: string): DownloadError {
    const { address, repo, revision } = this.model;
    const code = headers.get("X-Error-Code");
    if (status === 403 || code === "GatedRepo") {
      const then = this.token ? "check that the token belongs to the account that did" : "give a token of that account here";
      return new DownloadError(`${repo} is gated: accept its terms at ${address}/${repo} and ${then}.`);
    }
    if (status === 401) {
      return new DownloadError(
        this.token
          ? `${address} has no model ${repo} for this token: check the name and the token.`
          : `${address} has no public model ${repo}: check the name or, if it is private, give a token that may read it.`,
      );
    }
    if (status === 404) {
      if (code === "RepoNotFound") return new DownloadError(`${address} has no model ${repo}: check the name.`);
      if (code === "RevisionNotFound") return new DownloadError(`${repo} has no revision “${revision}”.`);
      return new DownloadError(file ? `${repo} has no file ${file}.` : `${address} has no model ${repo} at “${revision}”.`);
    }
    const message = `${address} answered ${status} for ${file || repo}.`;
    if (![408, 429, 500, 502, 503, 504].includes(status)) return new DownloadError(message);
    const seconds = Number(headers.get("Retry-After") ?? Number.NaN);
    return Number.isFinite(seconds) ? new Unreachable(message, seconds * 1000) : new Unreachable(message);
  }
}

function parse(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}

/** Fails when a promise takes longer than `ms`. */
async function within<T>(promise: Promise<T>, ms: number): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`nothing came for ${ms / 1000} s`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
