import { useSignal } from "@preact/signals";
import { bytes, loss, progressText } from "../format";
import {
  copyOf,
  downloadAdapter,
  downloadFile,
  fileName,
  keyOf,
  LOGS,
  RUN_FILE,
  type PlainFile,
  type Which,
} from "../session/downloads";
import { hasFolders, MERGED, mergedUses, writeMerged } from "../session/merged";
import { FORMATS, type AdapterFormat, type Use } from "../session/formats";
import { bestAdapter, downloads, modelInfo, savedAdapter, steps, type DownloadState } from "../state";
import { CopyButton } from "./CopyButton";
import { Notice, Panel } from "./Panel";

export function DownloadPanel() {
  const which = useSignal<Which>("last");
  const shown = copyOf(which.value) ? which.value : "last";
  return (
    <Panel number={6} title="Download">
      {savedAdapter.value ? (
        <>
          <Copies which={shown} onChoose={(chosen) => (which.value = chosen)} />
          {FORMATS.map((format) => (
            <AdapterEntry key={format.id} format={format} which={shown} />
          ))}
          <MergedEntry which={shown} />
        </>
      ) : (
        <p class="hint">Here you download the adapter once there is one. It loads unchanged in PEFT, llama.cpp, Ollama and mlx-lm.</p>
      )}
      {modelInfo.value && <PlainEntry file={RUN_FILE} />}
      {steps.value.length > 0 && LOGS.map((file) => <PlainEntry key={file.id} file={file} />)}
    </Panel>
  );
}

/** The last adapter, or the one with the lowest held-out loss. */
function Copies({ which, onChoose }: { which: Which; onChoose: (which: Which) => void }) {
  const last = savedAdapter.value;
  const best = bestAdapter.value;
  if (!last) return null;
  const newer = last.complete ? "" : "; a newer one follows as training goes on";
  if (!best || best.step === last.step) {
    return (
      <p class="run-status">
        As of step {last.step}
        {best && `, which has the lowest held-out loss (${loss(best.loss)})`}
        {newer}.
      </p>
    );
  }
  const choices = [
    ["last", `The last: step ${last.step}${newer}`],
    ["best", `The best: step ${best.step}, with the lowest held-out loss (${loss(best.loss)})`],
  ] as const;
  return (
    <fieldset class="copies">
      <legend>Which adapter</legend>
      {choices.map(([value, label]) => (
        <label class="check" key={value}>
          <input type="radio" name="copy" value={value} checked={which === value} onChange={() => onChoose(value)} />
          {label}
        </label>
      ))}
    </fieldset>
  );
}

function AdapterEntry({ format, which }: { format: AdapterFormat; which: Which }) {
  const copy = copyOf(which);
  if (!copy) return null;
  const refused = format.refused?.();
  if (refused !== undefined) return <Refused title={format.title} reason={refused} />;
  const state = downloads.value[keyOf(format, copy)];
  const name = fileName(copy, format.extension);
  return (
    <section class="download" aria-label={format.title}>
      <h3>{format.title}</h3>
      <p class="hint">{format.hint}</p>
      <DownloadButton
        primary={format === FORMATS[0]}
        label={`Download ${format.title} (${format.extension.slice(1)}, about ${bytes(copy.files.config.length + copy.files.model.length)})`}
        state={state}
        onClick={() => void downloadAdapter(format, which)}
      />
      <Outcome state={state} />
      <Uses list={format.uses(copy.files.config, state && "file" in state ? state.file : name)} />
    </section>
  );
}

function Refused({ title, reason }: { title: string; reason: string }) {
  return (
    <section class="download" aria-label={title}>
      <h3>{title}</h3>
      <p class="hint">Not for this model: {reason}.</p>
    </section>
  );
}

/** The base with the adapter in it. */
function MergedEntry({ which }: { which: Which }) {
  const info = modelInfo.value;
  if (!info) return null;
  const title = "Merged model";
  const refused = info.refused_formats.merged;
  if (refused !== undefined) return <Refused title={title} reason={refused} />;
  const state = downloads.value[MERGED];
  return (
    <section class="download" aria-label={title}>
      <h3>{title}</h3>
      <p class="hint">
        The base with the adapter added to its weights, rounded to the base’s type: a model of its own, as large as the
        base, for programs that know no adapters. {hasFolders() ? "Written to a new folder where you choose." : "A zip."}{" "}
        Training waits meanwhile.
      </p>
      <DownloadButton label="Write merged model" state={state} onClick={() => void writeMerged(which)} />
      {state?.name === "merging" && (
        <>
          <label class="loading">
            {state.stage === "writing" ? "Writing the merged model" : "Reading it back and comparing"}
            <progress {...(state.progress.total > 0 ? { value: state.progress.done, max: state.progress.total } : {})} />
          </label>
          <div class="actions">
            <small class="hint run-status">{progressText(state.progress)}</small>
            <button type="button" onClick={state.cancel}>
              Cancel
            </button>
          </div>
        </>
      )}
      <Outcome state={state} />
      <Uses list={mergedUses(which)} />
    </section>
  );
}

function PlainEntry({ file }: { file: PlainFile }) {
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

interface DownloadButtonProps {
  label: string;
  primary?: boolean;
  state: DownloadState | undefined;
  onClick: () => void;
}

function DownloadButton({ label, primary = false, state, onClick }: DownloadButtonProps) {
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

function Outcome({ state }: { state: DownloadState | undefined }) {
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
      return `✓ ${state.file}, checked: on the disk it is what was to be written, byte for byte.`;
    case "saved":
      return `✓ ${state.file} is written.`;
    default:
      return "";
  }
}

function Uses({ list }: { list: readonly Use[] }) {
  return (
    <>
      {list.map((use) => (
        <HowTo key={use.title} use={use} />
      ))}
    </>
  );
}

function HowTo({ use: { title, code, note } }: { use: Use }) {
  return (
    <details class="how-to">
      <summary>{title}</summary>
      {note && <p class="hint">{note}</p>}
      <pre tabIndex={0} role="group" aria-label={title}>
        <code>{code}</code>
      </pre>
      <CopyButton text={code} what={`the code: ${title}`} />
    </details>
  );
}
