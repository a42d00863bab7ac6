// A server that answers pages as the Hub does, and a second one, another origin, that holds the large files.
import { createServer } from "node:http";

export const COMMIT = "0123456789abcdef0123456789abcdef01234567";
/** Opens gated models. */
export const TOKEN = "hf_the_right_token";
/** Files from this size on lie on the second server. */
const LARGE = 1 << 20;
const SIGNATURE = "?Signature=abc%2Fdef&Expires=1";

const CORS = {
  "Access-Control-Allow-Origin": "*",
  "Access-Control-Expose-Headers": "X-Repo-Commit, X-Error-Code, X-Linked-Size, X-Linked-ETag, ETag, Content-Range",
};

/**
 * `files` of a repository are buffers by name, or `{ size, read(from, to) }`. `state` says how the servers misbehave, and
 * has what they were asked.
 */
export async function startHub(repos) {
  const state = {
    /** What `main` stands for. */
    commit: COMMIT,
    /** Nothing is answered. */
    away: false,
    files: repos,
    gated: new Set(),
    /** How many of the next large answers break off in the middle. */
    drops: 0,
    ignoresRanges: false,
    /** Answers from this byte on begin, and then come a byte at a time: they never end. */
    stallsFrom: Infinity,
    hub: [],
    storage: [],
  };
  const size = (file) => file.size ?? file.length;
  const log = (list, request) => list.push({ method: request.method, url: request.url, headers: request.headers });

  const storage = await listen((request, response) => {
    log(state.storage, request);
    const [, , owner, name, file] = (request.url ?? "").replace(SIGNATURE, "").split("/");
    const body = request.url?.endsWith(SIGNATURE) ? repos[`${owner}/${name}`]?.[decodeURIComponent(file)] : undefined;
    if (!body) return response.writeHead(403, CORS).end();
    const range = state.ignoresRanges ? null : /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
    const from = Number(range?.[1] ?? 0);
    const to = range?.[2] ? Number(range[2]) + 1 : size(body);
    const partial = range ? { "Content-Range": `bytes ${from}-${to - 1}/${size(body)}` } : {};
    response.writeHead(range ? 206 : 200, { ...CORS, ...partial, "Content-Length": to - from });
    const breaks = state.drops > 0 && to - from > 1;
    if (breaks) state.drops -= 1;
    void send(response, body, from, breaks ? from + Math.floor((to - from) / 2) : to, from >= state.stallsFrom);
  });

  const hub = await listen((request, response) => {
    if (request.method === "OPTIONS") {
      const allowed = { "Access-Control-Allow-Headers": "authorization, range", "Access-Control-Allow-Methods": "GET, HEAD" };
      return response.writeHead(204, { ...CORS, ...allowed }).end();
    }
    log(state.hub, request);
    if (state.away) return request.destroy();
    const refuse = (status, code) => response.writeHead(status, { ...CORS, "X-Error-Code": code }).end();
    const api = /^\/api\/models\/([^/]+\/[^/]+)\/revision\/([^/]+)$/.exec(request.url);
    const resolve = /^\/([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(request.url);
    const [, repo, revision, name] = api ?? resolve ?? [];
    const token = request.headers.authorization;
    const files = repos[repo];
    if (!files) return refuse(token ? 404 : 401, "RepoNotFound");
    if (!["main", "refs%2Fpr%2F1", state.commit].includes(revision)) return refuse(404, "RevisionNotFound");
    if (api) {
      const info = { id: repo, sha: state.commit, siblings: Object.keys(files).map((rfilename) => ({ rfilename })) };
      return response.writeHead(200, { ...CORS, "Content-Type": "application/json" }).end(JSON.stringify(info));
    }
    if (state.gated.has(repo) && token !== `Bearer ${TOKEN}`) return refuse(token ? 403 : 401, "GatedRepo");
    const body = files[name];
    if (!body) return refuse(404, "EntryNotFound");
    if (size(body) < LARGE) return response.writeHead(200, { ...CORS, "Content-Length": size(body) }).end(body);
    const location = `${storage.origin}/signed/${repo}/${encodeURIComponent(name)}${SIGNATURE}`;
    response.writeHead(302, { ...CORS, Location: location, "X-Repo-Commit": state.commit, "X-Linked-Size": size(body) }).end();
  });
  const close = async () => await Promise.all([hub.close(), storage.close()]);
  return { address: hub.origin, origins: [hub.origin, storage.origin], state, close };
}

async function send(response, body, from, end, stalls) {
  const read = (at, to) => (body.read ? body.read(at, to) : body.subarray(at, to));
  let piece = stalls ? 64 << 10 : 1 << 20;
  for (let at = from; at < end; ) {
    const next = Math.min(end, at + piece);
    if (response.destroyed) return;
    await new Promise((resolve) => response.write(read(at, next), resolve));
    at = next;
    if (!stalls) continue;
    piece = 1;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  // Fewer bytes than promised: the connection is cut.
  if (response.getHeader("Content-Length") > end - from) response.destroy();
  else response.end();
}

async function listen(answer) {
  const server = createServer(answer);
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = () =>
    new Promise((resolve) => {
      server.close(resolve);
      server.closeAllConnections();
    });
  return { origin: `http://127.0.0.1:${server.address().port}`, close };
}
