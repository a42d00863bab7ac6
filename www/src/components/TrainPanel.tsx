import { duration, loss, plural, rate, scientific } from "../format";
import { stopTraining } from "../session/training";
import {
  active,
  blocker,
  evalFile,
  evaluations,
  run,
  savedAdapter,
  steps,
  trainFile,
  type Run,
} from "../state";
import { LossPlot } from "./LossPlot";
import { LossTable } from "./LossTable";
import { Notice, Panel, Warnings } from "./Panel";
import { Announcer } from "./Announcer";
import { StartStop } from "./StartStop";
import { SETTINGS_FORM, TrainSettings } from "./TrainSettings";

export function TrainPanel() {
  const now = run.value;
  const missing = blocker.value;
  return (
    <Panel number={4} title="Train">
      <TrainSettings />
      <p class="actions">
        <StartStop
          running={active.value}
          start="Train"
          stop="Stop"
          form={SETTINGS_FORM}
          disabled={missing !== undefined}
          stopping={now.status === "stopping"}
          onStop={() => void stopTraining()}
        />
        <span class="run-status">{missing ?? statusText(now)}</span>
      </p>
      <Announcer />
      {now.error && <Notice kind="error">{now.error}</Notice>}
      {now.start && <Warnings list={unseen(now.start.warnings)} />}
      {now.start && <Progress now={now} />}
      <LossPlot />
      <HeldOut />
      {steps.value.length > 0 && <LossTable />}
    </Panel>
  );
}

/** A run repeats what its data's reports say already. */
function unseen(warnings: string[]): string[] {
  const seen = [trainFile.value, evalFile.value].flatMap((loaded) => loaded?.report?.warnings ?? []);
  return warnings.filter((warning) => !seen.some((text) => warning.endsWith(text)));
}

function statusText({ status, start, last }: Run): string {
  switch (status) {
    case "idle":
      return "Ready.";
    case "preparing":
      return "Preparing: planning memory, compiling for the GPU, first held-out loss…";
    case "training":
      return start ? `Training on ${plural(start.examples, "example")}.` : "Training.";
    case "pausing":
      return "Pausing after this step…";
    case "paused":
      return `Paused at step ${last?.step ?? 0}.`;
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

function Progress({ now }: { now: Run }) {
  const total = now.start?.total_steps ?? 0;
  const { last, secondsLeft, seconds } = now;
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
      <progress class="run-progress" aria-label="Training steps" value={last?.step ?? 0} max={Math.max(1, total)} />
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
  if (!before || !after) return null;
  const { bestEvalLoss, bestStep } = run.value;
  return (
    <p class="held-out">
      Held-out loss: <strong>{loss(before.loss)}</strong>
      {before.step === 0 ? " before training" : ` at step ${before.step}`}
      {after !== before && (
        <>
          {" → "}
          <strong>{loss(after.loss)}</strong> at step {after.step}
        </>
      )}
      {bestEvalLoss !== undefined && bestStep !== undefined && bestStep !== after.step && (
        <>
          ; lowest {loss(bestEvalLoss)} at step {bestStep}
        </>
      )}
    </p>
  );
}
