import { compact, count, duration, loss, plural } from "../format";
import { choose, chooseAmong, type Choice, type Point } from "../session/elbow";
import { changePlan, endAfterThis, endNow, planned, startSweep, sweepSecondsLeft, sweepStepsDone } from "../session/sweep";
import { downloadFile, sweepFile } from "../session/downloads";
import {
  active,
  AS_SET,
  downloads,
  evalFile,
  initAdapter,
  modelInfo,
  modelMissing,
  RANKS,
  runSettings,
  settings,
  sweep,
  sweeping,
  sweepPlan,
  sweepSets,
  trainFile,
  type SweepRow,
} from "../state";
import { NumberField, SelectField } from "./Fields";
import { Notice, Panel } from "./Panel";
import { StartStop } from "./StartStop";
import { later } from "./later";
import type { Curve } from "./SweepPlot";

const SweepPlot = later(
  () => import("./SweepPlot").then(({ SweepPlot }) => SweepPlot),
  () => <div class="sweep-plot" />,
);

export function SweepPanel() {
  const rows = planned();
  const missing = blocker(rows);
  const { status, steps } = sweep.value;
  return (
    <Panel number={8} title="Sweep">
      <p class="hint">
        Trains several ranks one after another, on the same data, order and seed, to find the smallest that is enough.
      </p>
      <form
        class="compare-form"
        onSubmit={(event) => {
          event.preventDefault();
          void startSweep();
        }}
      >
        <fieldset class="bare" disabled={active.value || sweeping.value}>
          <legend class="sr-only">What is tried</legend>
          <Ranks />
          <Targets />
          <Alpha />
        </fieldset>
        {initAdapter.value && (
          <Notice kind="note">Every run of a sweep begins with a new adapter, not with {initAdapter.value.name}.</Notice>
        )}
        <p class="actions">
          <StartStop
            running={sweeping.value}
            start="Start the sweep"
            stop="Stop after this run"
            disabled={missing !== undefined}
            stopping={status === "ending"}
            onStop={endAfterThis}
          />
          {sweeping.value && (
            <button type="button" onClick={endNow}>
              Stop now
            </button>
          )}
          <span class="run-status">
            {!sweeping.value && (missing ?? `${plural(rows.length, "run")} of ${plural(settings.value.max_steps, "step")}.`)}
            {status === "ending" && "Ends with this run."}
          </span>
        </p>
      </form>
      {sweeping.value && <Progress total={sweep.value.rows.length * steps} />}
      {sweep.value.rows.length > 0 && <Results />}
    </Panel>
  );
}

function blocker(rows: readonly SweepRow[]): string | undefined {
  if (!modelInfo.value) return modelMissing.value;
  if (!trainFile.value?.report) return "Choose the data to train on.";
  if (!evalFile.value && !(runSettings.value.eval_split > 0)) return "A sweep compares held-out losses: hold out some data first.";
  if (evalFile.value && !evalFile.value.report) return "The held-out data cannot be used as it is.";
  if (active.value) return "A run is going on.";
  const { alpha } = sweepPlan.value;
  if (typeof alpha === "number" && !(alpha >= 0)) return "Alpha is a number, 0 or more.";
  if (rows.length === 0) return "Choose at least one rank and one set of targets.";
  return undefined;
}

function Ranks() {
  const { ranks } = sweepPlan.value;
  return (
    <fieldset class="modules">
      <legend>Ranks</legend>
      {RANKS.map((r) => (
        <label key={r}>
          <input
            type="checkbox"
            checked={ranks.includes(r)}
            onChange={({ currentTarget }) =>
              changePlan({ ranks: RANKS.filter((other) => (other === r ? currentTarget.checked : ranks.includes(other))) })
            }
          />
          {r}
        </label>
      ))}
    </fieldset>
  );
}

function Targets() {
  const { targets } = sweepPlan.value;
  const sets = sweepSets(modelInfo.value?.target_modules ?? [], settings.value.target_modules);
  return (
    <fieldset class="modules">
      <legend>Targets</legend>
      {sets.map(({ id, title, target_modules }) => (
        <label key={id} title={target_modules.join(", ")}>
          <input
            type="checkbox"
            checked={targets.includes(id)}
            onChange={({ currentTarget }) =>
              changePlan({ targets: currentTarget.checked ? [...targets, id] : targets.filter((other) => other !== id) })
            }
          />
          {title}
          {id === "chosen" && title !== AS_SET && " (as in the settings)"}
        </label>
      ))}
      <small class="hint wide">More than one: every rank is tried on each, drawn as a line of its own.</small>
    </fieldset>
  );
}

function Alpha() {
  const { alpha } = sweepPlan.value;
  return (
    <div class="fields">
      <SelectField
        label="Scaling"
        hint="Twice the rank: every adapter acts as strongly, with alpha ÷ rank."
        value={alpha === "twice" ? "twice" : "fixed"}
        options={[
          ["twice", "alpha twice the rank"],
          ["fixed", "one alpha for all"],
        ]}
        onChange={(value) => changePlan({ alpha: value === "twice" ? "twice" : settings.value.lora_alpha })}
      />
      {alpha !== "twice" && (
        <NumberField
          label="Alpha for all runs"
          hint="Larger ranks then act more gently: for comparing with runs of one alpha"
          value={alpha}
          min={0}
          onChange={(value) => changePlan({ alpha: value })}
        />
      )}
    </div>
  );
}

function Progress({ total }: { total: number }) {
  const { rows } = sweep.value;
  const at = rows.findIndex(({ status }) => status === "running");
  const row = rows[at];
  const left = sweepSecondsLeft();
  return (
    <>
      <progress class="run-progress" aria-label="Steps of the sweep" value={sweepStepsDone()} max={Math.max(1, total)} />
      <p>
        <span role="status">{row ? `Run ${at + 1} of ${rows.length}: rank ${row.r}, ${row.targets.title}` : "Between two runs"}</span>
        {left !== undefined && <span class="hint"> · about {duration(left)} left</span>}
      </p>
    </>
  );
}

const pointOf = ({ status, r, evalLoss, trainable }: SweepRow): Point[] =>
  status === "done" && evalLoss !== undefined && trainable !== undefined ? [{ r, loss: evalLoss, parameters: trainable }] : [];

function Results() {
  const { rows, status, isOld } = sweep.value;
  const titles = [...new Set(rows.map(({ targets }) => targets.title))];
  const curves = titles
    .map((title): Curve => ({ title, points: rows.filter(({ targets }) => targets.title === title).flatMap(pointOf) }))
    .filter(({ points }) => points.length > 0);
  const choices = curves.flatMap(({ title, points }) => {
    const choice = choose(points);
    return choice ? [{ ...choice, title }] : [];
  });
  const taken = status === "over" ? choices[chooseAmong(choices)] : undefined;
  return (
    <div class="sweep-results">
      {taken && (
        <p class="advice" role="status">
          {sentence(taken, titles.length > 1 ? ` on ${taken.title}` : "")}
        </p>
      )}
      {curves.length > 0 && (
        <figure class="plot">
          <div class="sweep-plots">
            <SweepPlot curves={curves} by="r" marked={taken?.point} />
            <SweepPlot curves={curves} by="parameters" marked={taken?.point} />
          </div>
          <figcaption>
            <span>held-out loss</span>
            {curves.map(({ title }, index) => (
              <span key={title} class={`sweep-key line-${index % 4}`}>
                {title}
              </span>
            ))}
            {taken && <span class="ring">{taken.why === "elbow" ? "the elbow" : "the one to take"}</span>}
          </figcaption>
        </figure>
      )}
      <Table rows={rows} taken={taken?.point} />
      <SweepCsv />
      {taken && (
        <p class="hint">
          Held-out loss is the lowest of each run.{" "}
          {isOld
            ? "The sweep is from an earlier visit; its adapters are among the runs."
            : "Compare and Download have the adapter with the lowest loss of all."}
        </p>
      )}
    </div>
  );
}

/** Which rank to take, and why. */
function sentence({ point, why, lowest }: Choice, on: string): string {
  const take = `Take rank ${point.r}${on}`;
  switch (why) {
    case "only":
      return `Only rank ${point.r}${on} has a result: one more is needed to compare.`;
    case "flat":
      return `${take}: the held-out losses of all ranks lie within 1 %, and it is the smallest.`;
    case "elbow":
      return point === lowest
        ? `${take}: it has the lowest held-out loss.`
        : `${take}: it is the elbow. Rank ${lowest.r} has a held-out loss lower by only ${loss(point.loss - lowest.loss)}, for ${Number((lowest.parameters / point.parameters).toPrecision(2))} times the parameters.`;
    case "falling":
      return `${take}: the held-out loss falls with every rank up to it, without an elbow; larger ranks may do better still.`;
    case "lowest":
      return `${take}: it has the lowest held-out loss; larger ranks do worse.`;
  }
}

function Table({ rows, taken }: { rows: readonly SweepRow[]; taken: Point | undefined }) {
  return (
    <div class="table-scroll" tabIndex={0} role="group" aria-label="Runs of the sweep">
      <table>
        <thead>
          <tr>
            <th scope="col">Rank</th>
            <th scope="col">Targets</th>
            <th scope="col">Alpha</th>
            <th scope="col">Parameters</th>
            <th scope="col">Held-out loss</th>
            <th scope="col">At step</th>
            <th scope="col">State</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => {
            const isTaken = taken !== undefined && taken.loss === row.evalLoss && taken.r === row.r && taken.parameters === row.trainable;
            return (
              <tr key={`${row.targets.id} ${row.r}`} class={isTaken ? "taken" : undefined}>
                <th scope="row">{row.r}</th>
                <td>{row.targets.title}</td>
                <td>{row.lora_alpha}</td>
                <td title={row.trainable === undefined ? undefined : count(row.trainable)}>
                  {row.trainable === undefined ? "" : compact(row.trainable)}
                </td>
                <td>{row.evalLoss === undefined ? "" : loss(row.evalLoss)}</td>
                <td>{row.bestStep ?? ""}</td>
                <td>
                  {row.status}
                  {isTaken && ", take this"}
                  {row.seconds !== undefined && row.status !== "running" && `, ${duration(row.seconds)}`}
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
      {rows.map(({ error, r, targets }) =>
        error ? (
          <Notice kind="error" key={`${targets.id} ${r}`}>
            Rank {r}, {targets.title}: {error}
          </Notice>
        ) : null,
      )}
    </div>
  );
}

function SweepCsv() {
  const file = sweepFile();
  const state = downloads.value[file.id];
  return (
    <p class="actions">
      <button type="button" onClick={() => void downloadFile(file)}>
        Download the table as CSV
      </button>
      <span class="run-status" role="status">
        {state?.name === "saved" && `✓ ${state.file} is written.`}
        {state?.name === "failed" && state.message}
      </span>
    </p>
  );
}
