import { useId } from "preact/hooks";
import type { MemoryReport } from "postil";
import { bytes } from "../format";
import { allowMemory, budgetSource, describe, GIB, makeItFit, shortage } from "../session/memory";
import { active, memoryBudget, memoryLimit, memoryPlan } from "../state";
import { NumberField } from "./Fields";
import { Notice } from "./Panel";

const NAMES: Record<MemoryReport["items"][number]["purpose"], string> = {
  weights: "Weights",
  adapter: "Adapter",
  gradients: "Gradients",
  moments: "Moments",
  activations: "Activations",
  workspace: "Workspace",
};

/** The GPU memory that a run would take, by part, against what it may take. */
export function MemoryBar() {
  const { report, error } = memoryPlan.value;
  const id = useId();
  return (
    <section class="memory" aria-labelledby={id}>
      <div class="memory-head">
        <h3 id={id}>GPU memory (estimate)</h3>
        <p role="status">{report && <Verdict report={report} />}</p>
      </div>
      <Bar report={report} />
      <Budget />
      {error && <Notice kind="error">{error}</Notice>}
      {report && !report.fits && !active.value && <Shortage report={report} />}
      <Parts report={report} />
    </section>
  );
}

/** Its room is kept while nothing is known. */
function Bar({ report }: { report: MemoryReport | undefined }) {
  const whole = report ? Math.max(report.total, report.budget.bytes) : 1;
  const width = (part: number) => `${(100 * part) / whole}%`;
  return (
    <div class="memory-bar" aria-hidden="true">
      {report?.items.map((item) => (
        <span key={item.purpose} class={`memory-part ${item.purpose}`} style={{ width: width(item.bytes) }} />
      ))}
      {report && !report.fits && <span class="memory-limit" style={{ insetInlineStart: width(report.budget.bytes) }} />}
    </div>
  );
}

function Verdict({ report: { peak, budget, fits } }: { report: MemoryReport }) {
  return (
    <>
      <strong>{bytes(peak)}</strong> of {bytes(budget.bytes)}: {fits ? "fits" : "does not fit"}
    </>
  );
}

function Parts({ report }: { report: MemoryReport | undefined }) {
  return (
    <details>
      <summary>By part</summary>
      <dl class="facts memory-parts">
        {report?.items.map((item) => (
          <div key={item.purpose}>
            <dt class={item.purpose}>{NAMES[item.purpose]}</dt>
            <dd>{bytes(item.bytes)}</dd>
          </div>
        ))}
      </dl>
    </details>
  );
}

function Budget() {
  const chosen = memoryBudget.value;
  const limit = memoryLimit.value;
  return (
    <fieldset class="memory-budget" disabled={active.value}>
      <legend class="sr-only">GPU memory that may be taken</legend>
      <NumberField
        label="Memory budget (GiB)"
        hint={limit ? `Now ${bytes(limit.bytes)}: ${budgetSource(limit)}` : "What training may take"}
        value={chosen ?? Number.NaN}
        min={0}
        isOptional
        placeholder={limit ? (limit.bytes / GIB).toFixed(1) : ""}
        onChange={(gib) => void allowMemory(Number.isNaN(gib) ? undefined : gib)}
      />
    </fieldset>
  );
}

function Shortage({ report }: { report: MemoryReport }) {
  return (
    <Notice kind="error">
      {shortage(report)}
      {report.proposals.length > 0 && (
        <ul class="proposals">
          {report.proposals.map(({ changes, peak, fits }, index) => (
            <li key={describe(changes)}>
              {describe(changes)}: {bytes(peak)} ({fits ? "fits" : "not enough"}){" "}
              {fits && (
                <button type="button" aria-label={`Apply: ${describe(changes)}`} onClick={() => makeItFit(report, index)}>
                  Apply
                </button>
              )}
            </li>
          ))}
        </ul>
      )}
      {report.choice !== null && (
        <button type="button" class="primary" onClick={() => makeItFit(report)}>
          Make it fit
        </button>
      )}
    </Notice>
  );
}
