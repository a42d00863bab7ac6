import { useId } from "preact/hooks";
import type { MemoryReport } from "postil-engine";
import { bytes } from "../format";
import { allowMemory, budgetSource, describe, GIB, makeItFit, shortage } from "../session/memory";
import { active, memoryBudget, memoryPlan } from "../state";
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
      <h3 id={id}>GPU memory (estimate)</h3>
      {report && <Plan report={report} />}
      {error && <Notice kind="error">{error}</Notice>}
      <Budget report={report} />
      {report && !report.fits && !active.value && <Shortage report={report} />}
    </section>
  );
}

function Plan({ report: { items, total, peak, budget, fits } }: { report: MemoryReport }) {
  const whole = Math.max(total, budget.bytes);
  const width = (part: number) => `${(100 * part) / whole}%`;
  return (
    <>
      <div class="memory-bar" aria-hidden="true">
        {items.map((item) => (
          <span key={item.purpose} class={`memory-part ${item.purpose}`} style={{ width: width(item.bytes) }} />
        ))}
        {!fits && <span class="memory-limit" style={{ insetInlineStart: width(budget.bytes) }} />}
      </div>
      <dl class="facts memory-parts">
        {items.map((item) => (
          <div key={item.purpose}>
            <dt class={item.purpose}>{NAMES[item.purpose]}</dt>
            <dd>{bytes(item.bytes)}</dd>
          </div>
        ))}
      </dl>
      <p role="status">
        <strong>{bytes(peak)}</strong> of {bytes(budget.bytes)}: {fits ? "fits" : "does not fit"}
      </p>
    </>
  );
}

function Budget({ report }: { report: MemoryReport | undefined }) {
  const chosen = memoryBudget.value;
  return (
    <fieldset class="bare" disabled={active.value}>
      <legend class="sr-only">GPU memory that may be taken</legend>
      <div class="fields">
        <NumberField
          label="Memory budget (GiB)"
          hint={report ? `Now ${bytes(report.budget.bytes)}: ${budgetSource(report)}` : "What training may take"}
          value={chosen ?? Number.NaN}
          min={0}
          isOptional
          placeholder={report ? (report.budget.bytes / GIB).toFixed(1) : ""}
          onChange={(gib) => void allowMemory(Number.isNaN(gib) ? undefined : gib)}
        />
      </div>
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
