/** The base and the tuned model on the same prompts, one text after the other. */
import { PostilError, type Compiling, type Generation, type Prompt } from "postil";
import {
  adapterLoaded,
  adapterScale,
  chat,
  chatWish,
  chosenAdapter,
  chosenSet,
  comparisons,
  generating,
  loadedAdapters,
  markDifferences,
  modelInfo,
  openConversation,
  phase,
  prompt,
  promptHistory,
  sampling,
  sweeping,
  systemMessage,
  writingNews,
  type Comparison,
  type Output,
  type Sampling,
  type Side,
  type Turn,
} from "../state";
import { tuner } from "./engine";

/** Prompts of a built-in set that are shown by themselves after a run. */
const SAMPLES = 3;
const KEPT = 20;
/** Long enough not to start a text for every position that a slider passes. */
const SETTLE_MS = 150;

/** One text to write. */
interface Task {
  comparison: number;
  turn: number;
  side: Side;
}

let nextId = 1;
let queue: Task[] = [];
/** The text being written; `dropped` when another takes its place. */
let writing: { task: Task; text: Generation; dropped: boolean } | undefined;
let settling: { task: Task; timer: ReturnType<typeof setTimeout> } | undefined;

const waiting = (): Output => ({ status: "waiting", text: "" });
const newTurn = (text: string): Turn => ({
  id: nextId++,
  prompt: text,
  base: waiting(),
  ...(adapterLoaded.value ? { tuned: waiting() } : {}),
});

export const writePrompt = (text: string) => (prompt.value = text);
export const writeSystem = (text: string) => (systemMessage.value = text);
export const chooseChat = (on: boolean) => (chatWish.value = on);
export const markDiffering = (on: boolean) => (markDifferences.value = on);
export const changeSampling = (part: Partial<Sampling>) => (sampling.value = { ...sampling.value, ...part });

/** Writes both answers to the prompt: in a chat as the conversation's next turn. */
export async function compare(): Promise<void> {
  const text = prompt.value;
  if (generating.value || !modelInfo.value || text.trim() === "") return;
  promptHistory.value = [text, ...promptHistory.value.filter((other) => other !== text)].slice(0, KEPT);
  const open = chat.value ? comparisons.value.find(({ id }) => id === openConversation.value) : undefined;
  if (open) {
    const turn = newTurn(text);
    change(open.id, (comparison) => ({ ...comparison, turns: [...comparison.turns, turn] }));
    enqueue(open.id, turn);
  } else {
    const [added] = add([text]);
    openConversation.value = added?.chat ? added.id : undefined;
  }
  if (chat.value) prompt.value = "";
  await work();
}

/** What a run has changed, shown unasked at its end. */
export async function compareSamples(): Promise<void> {
  const prompts = chosenSet.value?.prompts.slice(0, SAMPLES) ?? [prompt.value].filter((text) => text.trim() !== "");
  // A sweep goes on with its next run.
  if (prompts.length === 0 || generating.value || sweeping.value || !modelInfo.value) return;
  add(prompts);
  await work();
}

export function stopGenerating(): void {
  for (const task of queue) update(task, { status: "stopped" });
  queue = [];
  if (settling) {
    clearTimeout(settling.timer);
    update(settling.task, { status: "stopped" });
    settling = undefined;
  }
  writing?.text.stop();
}

/** The newest answer is written again at once: it is what the person looks at while they move the slider. */
export function chooseScale(scale: number): void {
  adapterScale.value = scale;
  rewriteTuned();
}

export function chooseAdapter(id: string): void {
  chosenAdapter.value = id;
  rewriteTuned();
}

/** The adapter or its strength is another one now: writes the newest tuned answer again. */
export function rewriteTuned(): void {
  const current = comparisons.value.find(({ id }) => id === openConversation.value) ?? comparisons.value[0];
  const turn = current?.turns.at(-1);
  if (!current || !turn || !adapterLoaded.value) return;
  const task: Task = { comparison: current.id, turn: turn.id, side: "tuned" };
  // What waits is written as things are when its turn comes.
  if (queue.some((other) => same(other, task))) return;
  if (writing && same(writing.task, task)) {
    writing.dropped = true;
    writing.text.stop();
  }
  if (settling) {
    clearTimeout(settling.timer);
    if (!same(settling.task, task)) queue.push(settling.task);
  }
  if (!turn.tuned) put(task, waiting());
  const timer = setTimeout(() => {
    settling = undefined;
    queue.push(task);
    void work();
  }, SETTLE_MS);
  settling = { task, timer };
}

/** Writes a turn's answers again, with the next seed: the same one would give the same texts. */
export async function retry(comparison: number, turn: Turn): Promise<void> {
  if (generating.value) return;
  sampling.value = { ...sampling.value, seed: sampling.value.seed + 1 };
  for (const side of adapterLoaded.value ? (["base", "tuned"] as const) : (["base"] as const)) {
    const task = { comparison, turn: turn.id, side };
    put(task, waiting());
    queue.push(task);
  }
  await work();
}

/** Takes a conversation's last message back into the prompt. */
export function edit(comparison: number, turn: Turn): void {
  if (generating.value) return;
  prompt.value = turn.prompt;
  const left = comparisons.value.find(({ id }) => id === comparison)?.turns.filter(({ id }) => id !== turn.id) ?? [];
  openConversation.value = left.length > 0 ? comparison : undefined;
  if (left.length > 0) change(comparison, (old) => ({ ...old, turns: left }));
  else comparisons.value = comparisons.value.filter(({ id }) => id !== comparison);
}

export function newConversation(): void {
  if (!generating.value) openConversation.value = undefined;
}

export function clearComparisons(): void {
  stopGenerating();
  comparisons.value = [];
  openConversation.value = undefined;
}

function add(prompts: readonly string[]): Comparison[] {
  const added = prompts.map((text) => ({
    id: nextId++,
    chat: chat.value,
    system: systemMessage.value,
    turns: [newTurn(text)],
  }));
  comparisons.value = [...added, ...comparisons.value].slice(0, KEPT);
  for (const { id, turns } of added) for (const turn of turns) enqueue(id, turn);
  return added;
}

function enqueue(comparison: number, turn: Turn): void {
  queue.push({ comparison, turn: turn.id, side: "base" });
  if (turn.tuned) queue.push({ comparison, turn: turn.id, side: "tuned" });
}

async function work(): Promise<void> {
  if (generating.value) return;
  generating.value = true;
  for (let task = queue.shift(); task; task = queue.shift()) await write(task);
  generating.value = false;
}

async function write(task: Task): Promise<void> {
  const comparison = comparisons.value.find(({ id }) => id === task.comparison);
  // Cleared meanwhile.
  if (!comparison?.turns.some(({ id }) => id === task.turn)) return;
  if (phase.value.name !== "ready") {
    update(task, { status: "stopped" });
    return;
  }
  const tuned = task.side === "tuned";
  const name = tuned ? "Tuned text" : "Base text";
  const adapter = tuned ? (chosenAdapter.value ?? null) : null;
  const scale = adapterScale.value;
  const title = loadedAdapters.value.find(({ id }) => id === adapter)?.title;
  const options = {
    ...sampling.value,
    adapter,
    ...(tuned ? { adapter_scale: scale } : {}),
    // A conversation goes through the template by itself.
    chat: false,
  };
  writingNews.value = "";
  let written = "";
  put(task, { ...waiting(), ...(title === undefined ? {} : { by: { title, scale } }) });
  const onCompiling = ({ done, total }: Compiling) => {
    writingNews.value = "Compiling shaders";
    if (!mine.dropped) update(task, { compiling: done < total ? { done, total } : undefined });
  };
  const text = tuner().generate({ ...options, prompt: asked(comparison, task), onCompiling });
  const mine = { task, text, dropped: false };
  writing = mine;
  try {
    for await (const piece of text) {
      written += piece;
      if (!mine.dropped) update(task, { status: "writing", text: written, compiling: undefined });
    }
    const report = await text.report;
    if (mine.dropped) return;
    const status = report.stopped === "caller" ? "stopped" : "done";
    update(task, { status, text: report.text, compiling: undefined, tokens: report.tokens, tokensPerSecond: report.tokens_per_second });
    writingNews.value = `${name} ${status}`;
  } catch (error) {
    update(task, { status: "failed", compiling: undefined, error: error instanceof Error ? error.message : String(error) });
    // The others would fail in the same way.
    if (error instanceof PostilError) stopGenerating();
  } finally {
    writing = undefined;
  }
}

/** What a side is asked: the text, or the conversation so far as that side remembers it. */
function asked({ chat, system, turns }: Comparison, { turn, side }: Task): Prompt {
  const last = turns.findIndex(({ id }) => id === turn);
  const text = turns[last]?.prompt ?? "";
  if (!chat) return text;
  const messages = turns.slice(0, last).flatMap((earlier) => [
    { role: "user", content: earlier.prompt },
    // Before there was an adapter, both sides were the base.
    { role: "assistant", content: (earlier[side] ?? earlier.base).text },
  ]);
  const before = system.trim() === "" ? [] : [{ role: "system", content: system }];
  return [...before, ...messages, { role: "user", content: text }];
}

const same = (one: Task, other: Task) => one.turn === other.turn && one.side === other.side;

function update(task: Task, part: Partial<Output>): void {
  put(task, (output) => output && { ...output, ...part });
}

function put(task: Task, next: Output | ((output: Output | undefined) => Output | undefined)): void {
  change(task.comparison, (comparison) => ({
    ...comparison,
    turns: comparison.turns.map((turn) => {
      if (turn.id !== task.turn) return turn;
      const output = typeof next === "function" ? next(turn[task.side]) : next;
      return output ? { ...turn, [task.side]: output } : turn;
    }),
  }));
}

function change(id: number, act: (comparison: Comparison) => Comparison): void {
  comparisons.value = comparisons.value.map((comparison) => (comparison.id === id ? act(comparison) : comparison));
}
