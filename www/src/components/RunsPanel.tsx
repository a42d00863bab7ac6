import { Fragment } from "preact";
import { useSignal } from "@preact/signals";
import { bytes, loss } from "../format";
import { overlay } from "../session/charts";
import { bytesOf, elsewhere, keptBytes, overlaid, run, runs, runsError, storageProblem, storageUse, type KeptRun } from "../state";
import { MOST_OVERLAID } from "./charts/Legend";
import { Notice, Panel } from "./Panel";
import { RunDetails } from "./RunDetails";

interface ColumnDef {
  name: string;
  value: (kept: KeptRun) => number | string;
  text: (kept: KeptRun) => string;
  /** Sorted by first, it begins with its largest. */
  falls?: boolean;
}

const UNKNOWN = Number.POSITIVE_INFINITY;

const COLUMNS: readonly ColumnDef[] = [
  { name: "Name", value: ({ title }) => title.toLowerCase(), text: ({ title }) => title },
  { name: "Status", value: statusOf, text: statusOf },
  { name: "Steps", value: stepOf, text: (kept) => `${stepOf(kept)} of ${kept.total_steps}`, falls: true },
  { name: "Held-out", value: (kept) => lastHeldOut(kept) ?? UNKNOWN, text: (kept) => shown(lastHeldOut(kept)) },
  { name: "Best", value: ({ best }) => best?.loss ?? UNKNOWN, text: ({ best }) => shown(best?.loss) },
  { name: "Rank", value: ({ settings }) => settings.r, text: ({ settings }) => String(settings.r) },
  { name: "Date", value: ({ created }) => created, text: ({ created }) => date(created), falls: true },
];

const shown = (value: number | undefined) => (value === undefined ? "–" : loss(value));
const lastHeldOut = ({ evaluations }: KeptRun) => evaluations.at(-1)?.loss;

function date(time: number): string {
  const day = new Date(time);
  const year = day.getFullYear() === new Date().getFullYear() ? {} : ({ year: "numeric" } as const);
  return day.toLocaleString(undefined, { ...year, month: "short", day: "numeric", hour: "numeric", minute: "2-digit" });
}

/** Of the run that this tab has, as it is now. */
function stepOf(kept: KeptRun): number {
  const now = run.value.id === kept.id ? run.value.last?.step : undefined;
  return now ?? kept.steps.at(-1)?.step ?? 0;
}

const NAMES = { training: "training", paused: "paused", finished: "finished", stopped: "stopped", failed: "failed", interrupted: "interrupted" };

function statusOf(kept: KeptRun): string {
  if (elsewhere.value.has(kept.id)) return "running in another tab";
  return NAMES[kept.status];
}

/** Every run that this browser keeps. */
export function RunsPanel() {
  const order = useSignal({ column: COLUMNS.length - 1, falls: true });
  const open = useSignal<string | undefined>(undefined);
  return (
    <Panel number={7} title="Runs">
      {storageProblem.value && <Notice kind="warning">{storageProblem.value}</Notice>}
      {runsError.value && <Notice kind="error">{runsError.value}</Notice>}
      {runs.value.length === 0 ? (
        <p class="hint">Each run is kept here with its curves, settings and adapter, also when the tab is closed.</p>
      ) : (
        <>
          <p class="hint">Tick runs to draw their curves over this one’s. A run’s name shows what can be done with it.</p>
          <div class="runs-holder">
            <table class="runs">
              <thead>
                <tr>
                  <th scope="col">Curves</th>
                  {COLUMNS.map(({ name, falls = false }, column) => {
                    const sorted = order.value.column === column;
                    return (
                      <th scope="col" key={name} aria-sort={sorted ? (order.value.falls ? "descending" : "ascending") : undefined}>
                        <button
                          type="button"
                          class="quiet"
                          onClick={() => (order.value = { column, falls: sorted ? !order.value.falls : falls })}
                        >
                          {name}
                          <span aria-hidden="true">{sorted ? (order.value.falls ? " ↓" : " ↑") : ""}</span>
                        </button>
                      </th>
                    );
                  })}
                </tr>
              </thead>
              <tbody>
                {sort(runs.value, order.value).map((kept) => (
                  <Fragment key={kept.id}>
                    <Row kept={kept} isOpen={open.value === kept.id} onOpen={() => (open.value = open.value === kept.id ? undefined : kept.id)} />
                    {open.value === kept.id && (
                      <tr class="run-details">
                        <td colSpan={COLUMNS.length + 1}>
                          <RunDetails kept={kept} />
                        </td>
                      </tr>
                    )}
                  </Fragment>
                ))}
              </tbody>
            </table>
          </div>
          <Room />
        </>
      )}
    </Panel>
  );
}

function Row({ kept, isOpen, onOpen }: { kept: KeptRun; isOpen: boolean; onOpen: () => void }) {
  const [, ...cells] = COLUMNS;
  const isOwn = run.value.id === kept.id;
  const isOver = overlaid.value.includes(kept.id);
  const full = !isOver && overlaid.value.length >= MOST_OVERLAID;
  return (
    <tr>
      <td data-label="Curves">
        <input
          type="checkbox"
          aria-label={`Curves of ${kept.title}`}
          checked={isOwn || isOver}
          disabled={isOwn || full}
          title={isOwn ? "This run’s curves are always shown" : full ? `At most ${MOST_OVERLAID} at once` : undefined}
          onChange={({ currentTarget }) => overlay(kept.id, currentTarget.checked)}
        />
      </td>
      <th scope="row">
        <button type="button" class="quiet run-name" aria-expanded={isOpen} onClick={onOpen}>
          {kept.title}
        </button>
      </th>
      {cells.map(({ name, text }) => (
        <td key={name} data-label={name}>
          {text(kept)}
        </td>
      ))}
    </tr>
  );
}

function sort(list: readonly KeptRun[], { column, falls }: { column: number; falls: boolean }): KeptRun[] {
  const { value } = COLUMNS[column]!;
  const sign = falls ? -1 : 1;
  return [...list].sort((a, b) => {
    const [first, second] = [value(a), value(b)];
    if (first === second) return b.created - a.created;
    return first < second ? -sign : sign;
  });
}

/** What the runs take; nothing is ever deleted unasked. */
function Room() {
  const use = storageUse.value;
  const largest = runs.value.reduce((max, kept) => Math.max(max, bytesOf(kept)), 0);
  return (
    <p class="hint">
      The runs’ files take {bytes(keptBytes.value)}
      {runs.value.length > 1 && `, the largest ${bytes(largest)}`}.
      {use && ` This page takes ${bytes(use.usage)} of the ${bytes(use.quota)} that the browser grants it, models included.`}
      {" Delete a run to make room."}
    </p>
  );
}
