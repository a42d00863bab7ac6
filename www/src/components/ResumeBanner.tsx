import { obstacle, putAside, resumeRun } from "../session/resume";
import { active, find, model, offered, runsError } from "../state";
import { Notice } from "./Panel";

/** After a crash: the last run can go on where its last checkpoint was. */
export function ResumeBanner() {
  const kept = offered.value === undefined ? undefined : find(offered.value);
  if (!kept || active.value) return null;
  const reason = obstacle(kept);
  const waits = reason !== undefined || model.value.name === "loading";
  return (
    <section class="resume-banner" aria-label="Interrupted run">
      <p>
        <strong>{kept.title}</strong> was {kept.status === "failed" ? "ended by an error" : "interrupted"} ({new Date(kept.created).toLocaleString()}). Its state as of step{" "}
        {kept.checkpoint} of {kept.total_steps} is kept. {reason}
      </p>
      <p class="actions">
        <button type="button" class="primary" disabled={waits} onClick={() => void resumeRun(kept.id)}>
          Resume the last run
        </button>
        <button type="button" onClick={putAside}>
          Not now
        </button>
      </p>
      {runsError.value && <Notice kind="error">{runsError.value}</Notice>}
    </section>
  );
}
