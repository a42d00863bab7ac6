/** Names of models on the Hub and the addresses they stand for. */

/** What to load: `file` is set for a model in one `.gguf` file. */
export interface HubModel {
  /** The server, without a slash at the end. */
  address: string;
  /** `owner/name` */
  repo: string;
  /** Branch, tag or commit. */
  revision: string;
  file?: string;
}

const WORD = /^(?!\.)[A-Za-z0-9._+-]{1,200}$/;

/** Whether a text can stand in an address as it is: words with slashes between them. */
export const isFileName = (text: string): boolean => text.split("/").every((part) => WORD.test(part));

/** Reads `owner/name[@revision]` or `owner/name/file.gguf[@revision]`. */
export function parseName(text: string): Omit<HubModel, "address"> | undefined {
  const [path = "", revision = "main", ...more] = text.trim().split("@");
  const [owner = "", name = "", ...rest] = path.split("/");
  const file = rest.join("/");
  if (more.length > 0 || ![owner, name].every((part) => WORD.test(part)) || !isFileName(revision)) return undefined;
  if (rest.length === 0) return { repo: `${owner}/${name}`, revision };
  if (!isFileName(file) || !/\.gguf$/i.test(file)) return undefined;
  return { repo: `${owner}/${name}`, revision, file };
}

/** A server's address without what follows its path, or nothing if it is none. */
export function parseAddress(text: string): string | undefined {
  if (!URL.canParse(text.trim())) return undefined;
  const { protocol, origin, pathname } = new URL(text.trim());
  return ["http:", "https:"].includes(protocol) ? (origin + pathname).replace(/\/+$/, "") : undefined;
}

/** Where a file is, by branch or commit. It redirects to an address that expires: that one is never kept. */
export function resolveUrl({ address, repo }: HubModel, revision: string, file: string): string {
  return `${address}/${repo}/resolve/${encodeURIComponent(revision)}/${file}`;
}

/** Where the commit and the list of files of a revision are. */
export function revisionUrl({ address, repo, revision }: HubModel): string {
  return `${address}/api/models/${repo}/revision/${encodeURIComponent(revision)}`;
}
