import type { Compiling } from "postil";
import { rate } from "../format";
import { edit, retry } from "../session/compare";
import { generating, markDifferences, type Comparison, type Output, type Side, type Turn } from "../state";
import { CopyButton } from "./CopyButton";
import { later } from "./later";
import { Notice } from "./Panel";

const Differing = later(
  () => import("./Differing").then(({ Differing }) => Differing),
  ({ base, tuned, side }) => (side === "base" ? base : tuned),
);

/** Prompts longer than this are folded away in the results. */
const FOLDED = 160;

/** A prompt with both answers, or a conversation. */
export function Compared({ comparison }: { comparison: Comparison }) {
  const { id, chat, system, turns } = comparison;
  const last = turns.at(-1);
  return (
    <article class="comparison" aria-label={chat ? "Conversation" : "Comparison"}>
      {chat && system.trim() !== "" && <Asked label="System" text={system} />}
      {turns.map((turn) => (
        <div class="turn" key={turn.id}>
          <Asked label={chat ? "You" : "Prompt"} text={turn.prompt} />
          <div class="sides">
            <Written title="Base model" side="base" turn={turn} />
            {turn.tuned && <Written title="With your adapter" side="tuned" turn={turn} />}
          </div>
        </div>
      ))}
      {last && (
        <p class="actions">
          <button type="button" class="small" disabled={generating.value} onClick={() => void retry(id, last)}>
            Retry<span class="sr-only"> this prompt</span> with the next seed
          </button>
          <button type="button" class="small" disabled={generating.value} onClick={() => edit(id, last)}>
            {chat ? "Edit the last message" : "Edit the prompt"}
          </button>
        </p>
      )}
    </article>
  );
}

function Asked({ label, text }: { label: string; text: string }) {
  if (text.length <= FOLDED) {
    return (
      <p class="asked">
        <span class="asked-label">{label}</span> {text}
      </p>
    );
  }
  return (
    <details>
      <summary>
        {label}: …{text.trimEnd().slice(-FOLDED / 2)}
      </summary>
      <p class="asked">{text}</p>
    </details>
  );
}

/** Each takes a moment when a text first needs it. */
function ShadersCompiling({ of: { done, total } }: { of: Compiling }) {
  return (
    <label class="loading">
      Compiling shaders: {done} of {total}
      <progress value={done} max={total} />
    </label>
  );
}

const isOver = (output: Output | undefined) => output?.status === "done" || output?.status === "stopped";

function Written({ title, side, turn }: { title: string; side: Side; turn: Turn }) {
  const output = turn[side];
  if (!output) return null;
  const { status, text, compiling, tokens, tokensPerSecond, error, by } = output;
  const marked = markDifferences.value && isOver(turn.base) && isOver(turn.tuned);
  return (
    <div class={side === "tuned" ? "side tuned" : "side"}>
      <div class="side-head">
        <h3>{title}</h3>
        <CopyButton text={text} what={side === "tuned" ? "the tuned text" : "the base text"} />
      </div>
      {by && (
        <small class="hint">
          {by.title}
          {by.scale !== 1 && `, at ${Math.round(100 * by.scale)} %`}
        </small>
      )}
      <p class="written" aria-busy={status === "writing"}>
        {marked ? <Differing base={turn.base.text} tuned={turn.tuned?.text ?? ""} side={side} /> : text}
        {status === "writing" && <span class="caret" aria-hidden="true" />}
        {status === "waiting" && (compiling ? <ShadersCompiling of={compiling} /> : <span class="hint">waiting…</span>)}
        {status === "done" && text === "" && <span class="hint">(nothing: the text ended at once)</span>}
      </p>
      {error && <Notice kind="error">{error}</Notice>}
      <small class="hint">
        {status === "stopped" && "stopped "}
        {tokensPerSecond !== undefined && `${tokens} tokens, ${rate(tokensPerSecond)}`}
        {marked && side === "tuned" && turn.base.text === text && " · the same text as the base’s"}
      </small>
    </div>
  );
}
