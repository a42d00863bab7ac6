interface StartStopProps {
  running: boolean;
  start: string;
  stop: string;
  /** The form that is submitted to start; by default the one around the button. */
  form?: string;
  /** There is nothing to start. */
  disabled: boolean;
  /** Stop has been asked for. */
  stopping?: boolean;
  onStop: () => void;
}

/** One button for both, so that the keyboard's focus stays where it is when one becomes the other. */
export function StartStop({ running, start, stop, form, disabled, stopping = false, onStop }: StartStopProps) {
  return (
    <button
      type={running ? "button" : "submit"}
      class="primary"
      form={running ? undefined : form}
      disabled={!running && disabled}
      // Not `disabled`: that would take the focus away.
      aria-disabled={stopping}
      onKeyDown={(event) => {
        // A key that is held would start and stop in turn.
        if (event.repeat) event.preventDefault();
      }}
      onClick={(event) => {
        if (!running) return;
        event.preventDefault();
        // The second half of a double click on Start is not meant for Stop.
        if (!stopping && event.detail < 2) onStop();
      }}
    >
      {running ? stop : start}
    </button>
  );
}
