import type { MergeCheck } from "postil";
import { downloadFile, type PlainFile } from "../session/downloads";
import { downloads, type DownloadState } from "../state";
import { Notice } from "./Panel";

interface DownloadButtonProps {
  label: string;
  primary?: boolean;
  state: DownloadState | undefined;
  onClick: () => void;
}

export function DownloadButton({ label, primary = false, state, onClick }: DownloadButtonProps) {
  const busy = state?.name === "writing" || state?.name === "checking" || state?.name === "merging";
  return (
    <p class="actions">
      <button
        type="button"
        class={primary ? "primary" : undefined}
        // Not `disabled`: that would take the focus away.
        aria-disabled={busy}
        onClick={() => {
          if (!busy) onClick();
        }}
      >
        {label}
      </button>
    </p>
  );
}

/** What has become of a download, and what was checked of it. */
export function Outcome({ state }: { state: DownloadState | undefined }) {
  return (
    <>
      <p class="outcome" role="status">
        {outcome(state)}
      </p>
      {state?.name === "failed" && <Notice kind="error">{state.message}</Notice>}
      {state?.name === "unchecked" && (
        <Notice kind="warning">
          {state.file} is written but not checked, because the adapter does not load on this model: {state.reason}
        </Notice>
      )}
    </>
  );
}

/** A file that needs no check. */
export function PlainEntry({ file }: { file: PlainFile }) {
  const state = downloads.value[file.id];
  return (
    <section class="download plain" aria-label={file.title}>
      <div>
        <h3>{file.title}</h3>
        <p class="hint">{file.hint}</p>
      </div>
      <DownloadButton label={`Download ${file.name()}${file.extension}`} state={state} onClick={() => void downloadFile(file)} />
      <Outcome state={state} />
    </section>
  );
}

function outcome(state: DownloadState | undefined): string {
  switch (state?.name) {
    case "writing":
      return "Writing…";
    case "checking":
      return "Checking the written file: reading it back, loading it, comparing logits…";
    case "checked": {
      const { file, difference, against } = state;
      const other = against === "memory" ? "the adapter in memory" : "the run’s copy";
      if (difference === 0) return `✓ ${file}, checked: same logits as ${other}.`;
      return `✓ ${file}, checked: logits within ${difference.toExponential(1)} of those of ${other}.`;
    }
    case "merged":
      return `✓ ${state.file}, checked: read back, it is byte for byte what was to be written. ${comparison(state.check)}`;
    case "saved":
      return `✓ ${state.file} is written.`;
    default:
      return "";
  }
}

/** What loading a merged model has shown. */
function comparison(check: MergeCheck): string {
  if ("reason" in check) return `Its logits were not compared: ${check.reason}.`;
  const { max_difference: difference, allowed, effect, dtype } = check;
  const figure = (value: number) => value.toPrecision(2);
  if (effect <= allowed) {
    return `Loaded again, its logits are within ${figure(difference)} of those of the base with the adapter; but the adapter changes so little (${figure(effect)}) that rounding to ${dtype} may hide it.`;
  }
  return `Loaded again, its logits are within ${figure(difference)} of those of the base with the adapter, which itself changes them by up to ${figure(effect)}. The rest is rounding to ${dtype}.`;
}
