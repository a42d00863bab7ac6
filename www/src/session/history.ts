/** The runs of this browser: found on arrival, written as they go on, and safe from other tabs. */
import {
  active,
  bytesOf,
  elsewhere,
  find,
  offered,
  overlaid,
  run,
  runs,
  storageProblem,
  storageUse,
  type FileSet,
  type KeptRun,
  type Sweep,
} from "../state";
import { claim, freed, type Release } from "./locks";
import { Store, type Files } from "./store";

type Sets = Partial<Record<FileSet, Files>>;

const opened: Promise<Store | undefined> = Store.open().catch((error: unknown) => {
  complain(`This browser keeps no runs (${reasonOf(error)}). They work as usual, and are gone with the tab.`);
  return undefined;
});
/** Tells the page's other tabs that something has changed. */
const others = "BroadcastChannel" in globalThis ? new BroadcastChannel("postil-runs") : undefined;

/** Runs that this tab has. */
const mine = new Map<string, Release>();
/** Runs that could not be kept: they are in this tab only. */
const unkept = new Set<string>();
/** Runs whose newest state could not be written. */
const ahead = new Set<string>();
/** The files of the run that this tab had last, so that nothing needs to be read back, or can be missing. */
let atHand: { id: string; sets: Sets } | undefined;

export async function openHistory(): Promise<void> {
  others?.addEventListener("message", () => void refresh());
  await refresh();
  offerLast();
}

const wasCutShort = ({ status, isFatal }: KeptRun) => status === "interrupted" || (status === "failed" && isFatal === true);

/** Offers the last run if it was cut short and can go on. */
function offerLast(): void {
  const [last] = runs.value;
  if (last && wasCutShort(last) && last.checkpoint !== undefined && !active.value && run.value.id !== last.id) {
    offered.value = last.id;
  }
}

let refreshing: Promise<void> | undefined;
let again = false;

/** Reads the list anew, one reading at a time. */
export async function refresh(): Promise<void> {
  again = true;
  refreshing ??= readAll();
  await refreshing;
}

async function readAll(): Promise<void> {
  try {
    while (again) {
      again = false;
      await read();
    }
  } finally {
    // At once: whoever asks from here on is not served by this reading.
    refreshing = undefined;
  }
}

async function read(): Promise<void> {
  await settled();
  const found = await attempt((store) => store.list());
  if (!found) return;
  const isOwn = ({ id }: KeptRun) => mine.has(id) || ahead.has(id);
  const away = new Set<string>();
  const ended = new Map<string, KeptRun>();
  for (const kept of found) {
    if (isOwn(kept) || !isUnderWay(kept)) continue;
    const now = await endIfLeft(kept);
    if (now) ended.set(kept.id, now);
    else away.add(kept.id);
  }
  // This tab's runs have gone on meanwhile; another tab may have renamed them.
  const current = found.map((kept) => {
    const own = isOwn(kept) ? find(kept.id) : undefined;
    return own ? { ...own, title: kept.title } : (ended.get(kept.id) ?? kept);
  });
  elsewhere.value = away;
  const here = runs.value.filter(({ id }) => unkept.has(id) || (mine.has(id) && !found.some((kept) => kept.id === id)));
  show([...here, ...current]);
  await measure();
}

const isUnderWay = ({ status }: KeptRun) => status === "training" || status === "paused";

/** What became of a run that was under way, if no tab has it any more. */
async function endIfLeft(kept: KeptRun): Promise<KeptRun | undefined> {
  const release = await claim(kept.id);
  if (!release) {
    void watch(kept.id);
    return undefined;
  }
  // It may have ended between the list's being read and now.
  const now = (await attempt((store) => store.get(kept.id))) ?? kept;
  if (isUnderWay(now)) {
    now.status = "interrupted";
    await attempt((store) => store.update(now.id, { status: "interrupted" }));
  }
  await release();
  return now;
}

const watched = new Set<string>();

async function watch(id: string): Promise<void> {
  if (watched.has(id)) return;
  watched.add(id);
  await freed(id).catch(() => {});
  watched.delete(id);
  await refresh();
  offerLast();
}

/** Holds that are being ended. */
const leaving = new Map<string, Promise<void>>();

/** Whether the run is this tab's now; not if another tab has it. */
export async function take(id: string): Promise<boolean> {
  await leaving.get(id);
  const release = mine.get(id) ?? (await claim(id));
  if (release) mine.set(id, release);
  return release !== undefined;
}

/** Lets other tabs have the run, once all is written. */
export async function letGo(id: string): Promise<void> {
  const release = mine.get(id);
  if (!release || leaving.has(id)) return;
  const left = (async () => {
    await settled();
    mine.delete(id);
    await release();
  })().finally(() => leaving.delete(id));
  leaving.set(id, left);
  await left;
  others?.postMessage(id);
  // A list that was being read may have the run as it was before.
  void refresh();
}

function show(list: readonly KeptRun[]): void {
  runs.value = [...list].sort((a, b) => b.created - a.created);
  const left = overlaid.value.filter((id) => find(id));
  if (left.length < overlaid.value.length) overlaid.value = left;
}

function sizes(sets: Sets): KeptRun["bytes"] {
  const size = (files: Files) => Object.values(files).reduce((sum, { byteLength }) => sum + byteLength, 0);
  return Object.fromEntries(Object.entries(sets).map(([set, files]) => [set, size(files)]));
}

export async function addRun(entry: KeptRun, data: Files): Promise<void> {
  atHand = { id: entry.id, sets: { data } };
  const sized = { ...entry, bytes: sizes({ data }) };
  show([sized, ...runs.value]);
  // What is kept later waits for this.
  adding = (async () => {
    const store = await opened;
    if (store && (await kept(store.add(sized, data)))) return;
    // The curves are small; only going on needs the data.
    if (!store || !(await kept(store.add(entry)))) unkept.add(entry.id);
  })();
  await adding;
  others?.postMessage(entry.id);
  await measure();
}

let adding: Promise<void> = Promise.resolve();

interface Waiting {
  change: Partial<KeptRun>;
  sets: Sets;
}

/** What is not yet written. What comes while something is being written is put together. */
const waiting = new Map<string, Waiting>();
let writing: Promise<void> | undefined;

/** Changes a run on the page at once, and in the store when it can take it. */
export function changeRun(id: string, change: Partial<KeptRun>, sets: Sets = {}): void {
  const before = find(id);
  if (!before) return;
  if (atHand?.id === id) Object.assign(atHand.sets, sets);
  const whole = Object.keys(sets).length === 0 ? change : { ...change, bytes: { ...before.bytes, ...sizes(sets) } };
  show(runs.value.map((kept) => (kept === before ? { ...before, ...whole } : kept)));
  const earlier = waiting.get(id);
  waiting.set(id, { change: { ...earlier?.change, ...whole }, sets: { ...earlier?.sets, ...sets } });
  writing ??= write();
}

async function write(): Promise<void> {
  await adding;
  const store = await opened;
  for (;;) {
    const next = waiting.entries().next().value;
    if (!next) break;
    const [id, { change, sets }] = next;
    waiting.delete(id);
    if (!store || unkept.has(id)) continue;
    if (await kept(store.update(id, change, sets))) {
      ahead.delete(id);
      continue;
    }
    ahead.add(id);
    // The files before are still there, and what is said of them.
    const { checkpoint: _, best: __, bytes: ___, ...small } = change;
    await kept(store.update(id, small));
  }
  // At once: a change that comes from here on is written by another call.
  writing = undefined;
  others?.postMessage("");
  void measure();
}

async function settled(): Promise<void> {
  await adding;
  while (writing) await writing;
}

/** The newest files of a run. */
export async function filesOf(id: string, set: FileSet): Promise<Files | undefined> {
  const here = atHand?.id === id ? atHand.sets[set] : undefined;
  if (here) return here;
  await settled();
  return await attempt((store) => store.files(id, set));
}

/** Whether a run's newest adapter can be read again after it is gone from everywhere else. */
export async function isStored(id: string): Promise<boolean> {
  await settled();
  return find(id)?.checkpoint !== undefined && !unkept.has(id) && !ahead.has(id);
}

/** Keeps the files of a run that goes on at hand. */
export function hold(id: string, sets: Sets): void {
  atHand = { id, sets };
}

export function renameRun(id: string, title: string): void {
  if (title.trim() === "") return;
  changeRun(id, { title: freeTitle(title.trim(), id) });
  void refresh();
}

/** The title, with a number behind it if another run than `own` has it. */
export function freeTitle(title: string, own?: string): string {
  const taken = new Set(runs.value.filter(({ id }) => id !== own).map((kept) => kept.title));
  if (!taken.has(title)) return title;
  let number = 2;
  while (taken.has(`${title} (${number})`)) number++;
  return `${title} (${number})`;
}

export async function keepSweep(sweep: Sweep): Promise<void> {
  const store = await opened;
  if (store) await kept(store.keepSweep(sweep));
}

export async function lastSweep(): Promise<Sweep | undefined> {
  return await attempt((store) => store.lastSweep());
}

/** Not the run that is under way; `false` if another tab has it. */
export async function removeRun(id: string): Promise<boolean> {
  if (active.value && run.value.id === id) return false;
  if (!(await take(id))) return false;
  if (atHand?.id === id) atHand = undefined;
  if (offered.value === id) offered.value = undefined;
  await settled();
  const gone = unkept.delete(id) || (await attempt(async (store) => (await store.remove(id), true)));
  if (gone) {
    ahead.delete(id);
    show(runs.value.filter((kept) => kept.id !== id));
    // There is room again.
    storageProblem.value = undefined;
  }
  await letGo(id);
  await measure();
  return true;
}

async function measure(): Promise<void> {
  const { usage, quota } = (await navigator.storage?.estimate?.().catch(() => undefined)) ?? {};
  // What is deleted is not always subtracted at once.
  const least = runs.value.reduce((sum, kept) => sum + bytesOf(kept), 0);
  if (usage !== undefined && quota !== undefined) storageUse.value = { usage: Math.max(usage, least), quota };
}

async function attempt<Result>(act: (store: Store) => Promise<Result>): Promise<Result | undefined> {
  const store = await opened;
  try {
    return store && (await act(store));
  } catch (error) {
    complain(`The kept runs could not be read or changed: ${reasonOf(error)}.`);
    return undefined;
  }
}

/** Whether something was written. */
async function kept(writing: Promise<void>): Promise<boolean> {
  try {
    await writing;
    return true;
  } catch (error) {
    const isFull = error instanceof Error && error.name === "QuotaExceededError";
    complain(
      isFull
        ? "The browser’s storage is full: the newest state of the run is in this tab only. Delete runs that are not needed."
        : `The run could not be kept: ${reasonOf(error)}. It goes on, and is gone with the tab.`,
    );
    return false;
  }
}

function complain(text: string): void {
  storageProblem.value ??= text;
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message || error.name : String(error);
}
