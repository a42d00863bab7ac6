import { computed } from "@preact/signals";
import { count, duration, loss, plural, rate, scientific } from "../format";
import { judge } from "../session/health";
import { active, blocker, evalFile, evaluations, run, samplePrompts, samples, savedAdapter, screenAwake, settings, steps, trainFile, type Run } from "../state";
import { Announcer } from "./Announcer";
import { anyCurve } from "./charts/curves";
import { later } from "./later";
import { LossTable } from "./LossTable";
import { MemoryBar } from "./MemoryBar";
import { Notice, Panel, Warnings } from "./Panel";
import { RunControl } from "./RunControl";
import { SampleFields, Samples } from "./Samples";
import { TrainSettings } from "./TrainSettings";

const Charts = later(
  () => import("./charts/Charts").then(({ Charts }) => Charts),
  () => <div class="charts-to-come" />,
);

export function TrainPanel() {
  const now = run.value;
  // All that a run shows has its room from the moment it is asked for: nothing moves as it goes on, nor at its end.
  const isThere = active.value || now.start !== undefined;
  return (
    <Panel number={4} title="Train">
      <TrainSettings />
      <MemoryBar />
      <RunControl />
      <p class="run-status">{blocker.value ?? statusText(now)}</p>
      <Announcer />
      {now.error && <Notice kind={now.status === "failed" ? "error" : "warning"}>{now.error}</Notice>}
      {now.start && <Warnings list={unseen(now.start.warnings)} />}
      {isThere && <Progress now={now} />}
      <Hidden now={now} />
      {(anyCurve.value || isThere) && <Charts />}
      {isThere && <HeldOut />}
      {isThere && <Health />}
      {isThere && <LossTable />}
      <SampleFields />
      {isThere && samplePrompts.value.length > 0 && <Samples prompts={samplePrompts.value} samples={samples.value} />}
    </Panel>
  );
}

/** A run repeats what its data's reports say already. */
function unseen(warnings: string[]): string[] {
  const seen = [trainFile.value, evalFile.value].flatMap((loaded) => loaded?.report?.warnings ?? []);
  return warnings.filter((warning) => !seen.some((text) => warning.endsWith(text)));
}

function statusText({ status, compiling, start, last }: Run): string {
  if (compiling) return `Compiling shaders: ${compiling.done} of ${compiling.total}, once for this visit.`;
  switch (status) {
    case "idle":
      return "Ready.";
    case "preparing":
      return "Preparing: planning memory, first held-out loss…";
    case "training":
      return `Training on ${plural(start?.examples ?? 0, "example")}${heldOut(start?.eval_examples ?? 0)}.${screenAwake.value ? " The screen stays on while the run goes on." : ""}`;
    case "pausing":
      return "Pausing after this step…";
    case "paused":
      return `Paused at step ${last?.step ?? 0}. The model is free for Compare; Go on trains further, Step makes one step.`;
    case "stopping":
      return "Stopping after this step…";
    case "finished":
      return "Done.";
    case "stopped":
      return `Stopped at step ${last?.step ?? 0}. The adapter is as of that step.`;
    case "failed":
      return savedAdapter.value ? `Ended by an error. The adapter as of step ${savedAdapter.value.step} is kept.` : "Ended by an error.";
  }
}

const heldOut = (examples: number) => (examples > 0 ? `, with ${count(examples)} held out` : "");

const verdict = computed(() => judge(steps.value, evaluations.value, run.value.errorKind));

/** How the run goes, where there is something to say. */
function Health() {
  const found = verdict.value;
  return (
    <div role="status" class="health-place">
      {found && (
        <p class="health">
          <strong class="badge">{found.title}</strong> {found.advice}
        </p>
      )}
    </div>
  );
}

/** How long the tab was hidden while the run went on. */
function Hidden({ now: { secondsHidden = 0 } }: { now: Run }) {
  if (secondsHidden < 1) return null;
  return (
    <Notice kind="note">
      The tab was hidden for {duration(secondsHidden)} of the run. Training went on, but browsers may slow a hidden tab down.
    </Notice>
  );
}

function Progress({ now }: { now: Run }) {
  const { compiling, start, last, secondsLeft, seconds } = now;
  const total = start?.total_steps ?? settings.value.max_steps;
  const figures = [
    ["Step", `${last?.step ?? 0} of ${total}`],
    ["Loss", last ? loss(last.loss) : "–"],
    ["Speed", last ? rate(last.tokens_per_second) : "–"],
    ["Learning rate", last ? scientific(last.lr) : "–"],
    active.value
      ? ["Time left", secondsLeft === undefined ? "–" : `about ${duration(secondsLeft)}`]
      : ["Took", seconds === undefined ? "–" : duration(seconds)],
  ] as const;
  return (
    <>
      <progress
        class="run-progress"
        aria-label={compiling ? "Compiling shaders" : "Training steps"}
        value={compiling ? compiling.done : (last?.step ?? 0)}
        max={Math.max(1, compiling ? compiling.total : total)}
      />
      <dl class="facts figures">
        {figures.map(([term, value]) => (
          <div key={term}>
            <dt>{term}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
    </>
  );
}

function HeldOut() {
  const before = evaluations.value.at(0);
  const after = evaluations.value.at(-1);
  if (!before && !evalFile.value) return null;
  const { bestEvalLoss, bestStep } = run.value;
  return (
    <p class="held-out">
      Held-out loss: {before ? <strong>{loss(before.loss)}</strong> : "–"}
      {before && (before.step === 0 ? " before training" : ` at step ${before.step}`)}
      {after && after !== before && (
        <>
          {" → "}
          <strong>{loss(after.loss)}</strong> at step {after.step}
        </>
      )}
      {bestEvalLoss !== undefined && bestStep !== undefined && bestStep !== after?.step && (
        <>
          ; lowest {loss(bestEvalLoss)} at step {bestStep}
        </>
      )}
    </p>
  );
}
