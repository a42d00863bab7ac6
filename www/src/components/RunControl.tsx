import { useSignal } from "@preact/signals";
import { isUnfinished, resumeRun } from "../session/resume";
import { goOn, pauseTraining, stopTraining } from "../session/training";
import { active, blocker, find, run, type KeptRun } from "../state";
import { NumberField } from "./Fields";
import { SETTINGS_FORM } from "./TrainSettings";
import { StartStop } from "./StartStop";

/** The buttons of a run; which there are follows from its state. */
export function RunControl() {
  const { status, id, start } = run.value;
  const kept = id === undefined || active.value ? undefined : find(id);
  const adding = useSignal(false);
  return (
    <>
      <p class={active.value || start ? "actions run-control" : "actions"}>
        <StartStop
          running={active.value}
          start="Train"
          stop="Stop"
          form={SETTINGS_FORM}
          disabled={blocker.value !== undefined}
          stopping={status === "stopping"}
          onStop={() => void stopTraining()}
        />
        {active.value && start && <PauseAndStep />}
        {kept && isUnfinished(kept) && (
          <button type="button" onClick={() => void resumeRun(kept.id)}>
            Resume at step {kept.checkpoint}
          </button>
        )}
        {kept?.checkpoint !== undefined && (
          <button type="button" aria-expanded={adding.value} onClick={() => (adding.value = !adding.value)}>
            Continue with more steps…
          </button>
        )}
      </p>
      {kept?.checkpoint !== undefined && adding.value && <MoreSteps kept={kept} onDone={() => (adding.value = false)} />}
    </>
  );
}

/** Both are there for the whole run, so that the focus stays where it is. */
function PauseAndStep() {
  const { status } = run.value;
  const paused = status === "paused";
  const busy = status === "pausing" || status === "stopping";
  return (
    <>
      <button
        type="button"
        aria-disabled={busy}
        onClick={() => {
          if (!busy) void (paused ? goOn() : pauseTraining());
        }}
      >
        {paused ? "Go on" : "Pause"}
      </button>
      <button type="button" aria-disabled={!paused} title="One step, while the run is paused" onClick={() => paused && void goOn(1)}>
        Step
      </button>
    </>
  );
}

/** How many steps a run is to have beyond those that it was planned with. */
export function MoreSteps({ kept, onDone }: { kept: KeptRun; onDone: () => void }) {
  const more = useSignal(kept.total_steps);
  return (
    <form
      class="more-steps"
      onSubmit={(event) => {
        event.preventDefault();
        onDone();
        void resumeRun(kept.id, more.value);
      }}
    >
      <NumberField
        label="More steps"
        hint={`Beyond the ${kept.total_steps} planned; the learning rate follows the schedule over all of them`}
        value={more.value}
        min={1}
        step={1}
        onChange={(value) => (more.value = value)}
      />
      <p class="actions">
        <button type="submit">Continue</button>
        <button type="button" onClick={onDone}>
          Cancel
        </button>
      </p>
    </form>
  );
}
