import { stopTraining } from "../session/training";
import { active, blocker, path, run, type Step, type StepStatus } from "../state";
import { panelId } from "./Panel";
import { StartStop } from "./StartStop";
import { SETTINGS_FORM } from "./TrainSettings";

const MARKS: Record<StepStatus, string> = { done: "✓", attention: "!", working: "…", open: "›", later: "·" };
const SPOKEN: Record<StepStatus, string> = {
  done: "done",
  attention: "needs attention",
  working: "under way",
  open: "ready",
  later: "later",
};

/** The way from a model to an adapter, with the state of each step, always in sight. */
export function PathBar() {
  return (
    <nav class="path" aria-label="Steps">
      <ol>
        {path.value.map((step) => (
          <li key={step.number}>
            <StepLink step={step} />
          </li>
        ))}
      </ol>
      <StartStop
        running={active.value}
        start="Start training"
        stop="Stop training"
        form={SETTINGS_FORM}
        disabled={blocker.value !== undefined}
        stopping={run.value.status === "stopping"}
        onStop={() => void stopTraining()}
      />
    </nav>
  );
}

function StepLink({ step: { number, title, status, words } }: { step: Step }) {
  const id = panelId(number);
  return (
    <a
      class={`step ${status}`}
      href={`#${id}`}
      onClick={(event) => {
        // The address holds the settings: it stays as it is.
        event.preventDefault();
        const heading = document.getElementById(id);
        heading?.closest(".panel")?.scrollIntoView();
        heading?.focus({ preventScroll: true });
      }}
    >
      <span class="step-mark" aria-hidden="true">
        {MARKS[status]}
      </span>
      <span class="step-title">{title}</span>
      <span class="step-words">{words}</span>
      <span class="sr-only">({SPOKEN[status]})</span>
    </a>
  );
}
