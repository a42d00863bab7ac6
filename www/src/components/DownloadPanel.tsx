import { bytes, loss, progressText } from "../format";
import { chooseCopy, keptCopies } from "../session/adapters";
import { downloadAdapter, fileName, keyOf, logsOf, runFile } from "../session/downloads";
import { describe } from "../session/describe";
import { hasFolders, MERGED, mergedUses, writeMerged } from "../session/merged";
import { FORMATS, PEFT, type AdapterFormat, type Use } from "../session/formats";
import { bestAdapter, chosenCopy, copyError, copyToTake, downloads, find, modelInfo, ownCopy, runToTake, type KeptRun, type SavedAdapter } from "../state";
import { CopyButton } from "./CopyButton";
import { SelectField } from "./Fields";
import { DownloadButton, Outcome, PlainEntry } from "./Outcome";
import { Notice, Panel } from "./Panel";
import { Ways } from "./Ways";

export function DownloadPanel() {
  const copy = copyToTake.value;
  const isOwn = copy !== undefined && copy.run === ownCopy.value?.run;
  return (
    <Panel number={6} title="Download">
      <RunChoice />
      {copyError.value && <Notice kind="error">{copyError.value}</Notice>}
      {copy ? (
        <>
          {isOwn && <Copies />}
          {FORMATS.map((format) => (
            <AdapterEntry key={format.id} format={format} copy={copy} />
          ))}
          <MergedEntry copy={copy} />
        </>
      ) : (
        <p class="hint">Here you download the adapter once there is one. It loads unchanged in PEFT, llama.cpp, Ollama and mlx-lm.</p>
      )}
      {runToTake.value && <OfRun kept={runToTake.value} />}
    </Panel>
  );
}

/** The settings that the run had, and its log. */
function OfRun({ kept }: { kept: KeptRun }) {
  return (
    <>
      <p class="hint">As “{kept.title}” was run:</p>
      {[runFile(kept), ...logsOf(kept)].map((file) => (
        <PlainEntry key={file.id} file={file} />
      ))}
      <Ways run={describe(kept)} />
    </>
  );
}

/** Whose adapter: the run's that the page has, or a kept one's. */
function RunChoice() {
  const own = ownCopy.value;
  const others = keptCopies().filter(({ run }) => run !== own?.run);
  if (others.length === 0) return null;
  const { run, which } = chosenCopy.value;
  const chosen = others.find((copy) => copy.run === run && copy.which === which);
  const first = own ? (find(own.run)?.title ?? "the run of this visit") : "choose one";
  return (
    <SelectField
      label="Adapter of"
      hint="Any run of this model that is kept in this browser."
      value={chosen?.id ?? ""}
      options={[["", first], ...others.map(({ id, title }) => [id, title] as const)]}
      onChange={(id) => {
        const copy = others.find((other) => other.id === id);
        void chooseCopy(copy ? { run: copy.run, which: copy.which } : { which: "last" });
      }}
    />
  );
}

/** The last adapter, or the one with the lowest held-out loss. */
function Copies() {
  const last = ownCopy.value;
  const best = bestAdapter.value;
  if (!last) return null;
  const which = copyToTake.value === best ? "best" : "last";
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
          <input type="radio" name="copy" value={value} checked={which === value} onChange={() => void chooseCopy({ which: value })} />
          {label}
        </label>
      ))}
    </fieldset>
  );
}

function AdapterEntry({ format, copy }: { format: AdapterFormat; copy: SavedAdapter }) {
  const refused = format.refused?.();
  if (refused !== undefined) return <Refused title={format.title} reason={refused} />;
  const state = downloads.value[keyOf(format, copy)];
  const name = fileName(copy, format.extension);
  return (
    <section class="download" aria-label={format.title}>
      <h3>{format.title}</h3>
      <p class="hint">{format.hint}</p>
      <DownloadButton
        primary={format === PEFT}
        label={`Download ${format.title} (${format.extension.slice(1)}, about ${bytes(copy.files.config.length + copy.files.model.length)})`}
        state={state}
        onClick={() => void downloadAdapter(format, copy)}
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

const STAGES = { writing: "Writing the merged model", checking: "Reading it back and comparing", loading: "Loading it, to compare logits" };

/** The base with the adapter in it. */
function MergedEntry({ copy }: { copy: SavedAdapter }) {
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
      <DownloadButton label="Write merged model" state={state} onClick={() => void writeMerged(copy)} />
      {state?.name === "merging" && (
        <>
          <label class="loading">
            {STAGES[state.stage]}
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
      <Uses list={mergedUses(copy)} />
    </section>
  );
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
