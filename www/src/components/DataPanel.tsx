import type { DataReport } from "postil-engine";
import { count, plural } from "../format";
import { chooseOwnFiles, chooseSet, dropEvalFile, takeFile } from "../session/data";
import { active, chosenData, dataSets, dataSetsError, evalFile, OWN_FILES, trainFile, type LoadedFile } from "../state";
import { FileField } from "./Fields";
import { Notice, Panel, Warnings } from "./Panel";
import { TokenPreview } from "./TokenPreview";

/** Skipped lines listed by themselves; the rest is counted. */
const LISTED_LINES = 20;
const ACCEPT = ".jsonl,.json,.csv,.tsv,.parquet,.txt";

export function DataPanel() {
  const own = chosenData.value === OWN_FILES;
  return (
    <Panel number={2} title="Data">
      <fieldset class="choices" disabled={active.value}>
        <legend class="sr-only">Data set</legend>
        {dataSets.value.map(({ id, title, description }) => (
          <Choice
            key={id}
            title={title}
            description={description}
            checked={chosenData.value === id}
            onChoose={() => void chooseSet(id)}
          />
        ))}
        <Choice
          title="Your own file"
          description="Examples from your disk; they are read here and sent nowhere."
          checked={own}
          onChoose={chooseOwnFiles}
        />
      </fieldset>
      {dataSetsError.value && <Notice kind="warning">{dataSetsError.value}</Notice>}
      {own && <OwnFiles />}
      {trainFile.value && <FileReport loaded={trainFile.value} role="Training data" preview />}
      {evalFile.value && <FileReport loaded={evalFile.value} role="Held-out data" />}
    </Panel>
  );
}

interface ChoiceProps {
  title: string;
  description: string;
  checked: boolean;
  onChoose: () => void;
}

function Choice({ title, description, checked, onChoose }: ChoiceProps) {
  return (
    <label class="choice">
      <input type="radio" name="data" checked={checked} onChange={onChoose} />
      <span>
        <strong>{title}</strong>
        <small>{description}</small>
      </span>
    </label>
  );
}

function OwnFiles() {
  return (
    <fieldset class="bare" disabled={active.value}>
      <legend class="sr-only">Your files</legend>
      <FileField
        label="Training file"
        hint="JSON Lines, JSON, CSV, Parquet or plain text, with records of text, prompt and completion, chat messages, ShareGPT, or Alpaca."
        accept={ACCEPT}
        onFiles={([file]) => file && void takeFile("train", file)}
      />
      <FileField
        label="Held-out file (optional)"
        hint="Examples that are not trained on; their loss shows whether the model learns more than its examples."
        accept={ACCEPT}
        onFiles={([file]) => file && void takeFile("eval", file)}
      />
      {evalFile.value && (
        <button type="button" onClick={dropEvalFile}>
          Remove {evalFile.value.file.name}
        </button>
      )}
    </fieldset>
  );
}

function FileReport({ loaded, role, preview = false }: { loaded: LoadedFile; role: string; preview?: boolean }) {
  const { file, report, error } = loaded;
  return (
    <div class="file-report">
      <h3>
        {role}: <span class="file-name">{file.name}</span>
      </h3>
      {error && <Notice kind="error">{error}</Notice>}
      {report && (
        <>
          <Counts report={report} />
          <Skipped report={report} />
          <Warnings list={report.warnings} />
          {preview && report.preview.length > 0 && <TokenPreview examples={report.preview} />}
        </>
      )}
      {!error && !report && <p class="hint">Waiting for the model’s tokenizer…</p>}
    </div>
  );
}

function Counts({ report }: { report: DataReport }) {
  const share = report.total_tokens > 0 ? Math.round((100 * report.target_tokens) / report.total_tokens) : 0;
  return (
    <ul class="counts">
      <li>Format: {report.format}</li>
      <li>
        {plural(report.records, "record")}, {plural(report.examples, "example")}
      </li>
      <li>
        {count(report.target_tokens)} of {plural(report.total_tokens, "token")} trained on ({share} %)
      </li>
    </ul>
  );
}

function Skipped({ report }: { report: DataReport }) {
  const { skipped, unit } = report;
  if (skipped.count === 0) return null;
  const rest = skipped.count - LISTED_LINES;
  return (
    <details class="skipped" open>
      <summary>{plural(skipped.count, unit)} skipped</summary>
      <ul>
        {skipped.first.slice(0, LISTED_LINES).map(({ line, reason }) => (
          <li key={line}>
            <strong>
              {unit.charAt(0).toUpperCase() + unit.slice(1)} {line}:
            </strong> {reason}
          </li>
        ))}
      </ul>
      {rest > 0 && <p class="hint">and {plural(rest, `more ${unit}`)}</p>}
    </details>
  );
}
