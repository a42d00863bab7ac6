import type { DataReport, Rejected } from "postil";
import { count, plural } from "../format";
import { chosenData, model, modelMissing, OWN_FILES, settings, type LoadedFile } from "../state";
import { ColumnMap } from "./ColumnMap";
import { LengthNumbers, Lengths } from "./Lengths";
import { Notice, Warnings } from "./Panel";
import { RowsTable } from "./RowsTable";
import { TokenPreview } from "./TokenPreview";

/** Rows listed by themselves; the rest is counted. */
const LISTED_ROWS = 20;

const TITLES = { train: "Training data", eval: "Held-out data" };

/** What a file is, before anything is trained on it. */
export function FileReport({ loaded, role }: { loaded: LoadedFile; role: "train" | "eval" }) {
  // What the page brings is known to be well: its numbers are there for those who ask.
  const isOwn = chosenData.value === OWN_FILES;
  const { file, report, error, columns = [] } = loaded;
  return (
    <div class="file-report">
      <h3>
        {TITLES[role]}: <span class="file-name">{file.name}</span>
      </h3>
      {error && <Notice kind="error">{error}</Notice>}
      {columns.length > 0 && <ColumnMap key={file.data} role={role} columns={columns} isNeeded={error !== undefined} />}
      {report && (
        <>
          <p class="hint">{brief(report)}</p>
          <Rows rejected={report.skipped} unit={report.unit} what="skipped" />
          <Rows rejected={report.refused} unit={report.unit} what="refused by the chat template" />
          <Warnings list={[...report.warnings, ...(role === "train" ? advice(report) : [])]} />
          {role === "train" && <Lengths report={report} />}
          {role === "train" && report.preview.length > 0 && <TokenPreview examples={report.preview} />}
          {loaded.rows && (
            <RowsTable rows={loaded.rows} format={report.format} columns={report.columns} isOpen={isOwn && role === "train"} />
          )}
          <details class="in-numbers" open={isOwn && role === "train"}>
            <summary>In numbers</summary>
            <Counts report={report} isPackable={role === "train"} />
            {role === "train" && <LengthNumbers report={report} />}
          </details>
        </>
      )}
      {!error && !report && <p class="hint">{model.value.name === "failed" ? modelMissing.value : "Waiting for the model’s tokenizer…"}</p>}
    </div>
  );
}

function brief({ examples, total_tokens: total, target_tokens: trained }: DataReport): string {
  return `${plural(examples, "example")} of ${count(total)} tokens in all, ${count(trained)} of them trained on.`;
}

/** Fewer are learned by heart rather than understood. */
const FEW = 30;
/** Share of the examples that are equal to others, past which the user should know. */
const MANY_DUPLICATES = 0.1;

/** What a person should know of data that can be used. */
function advice({ examples, duplicates }: DataReport): string[] {
  const list: string[] = [];
  if (examples < FEW) {
    list.push(
      `There ${examples === 1 ? "is" : "are"} only ${plural(examples, "example")}: enough to try things out, but the model will learn them by heart. A few hundred are better.`,
    );
  }
  if (duplicates > MANY_DUPLICATES * examples) {
    list.push(
      `${count(duplicates)} of ${plural(examples, "example")} are equal to others: they count for more than the rest.`,
    );
  }
  return list;
}

function Counts({ report, isPackable }: { report: DataReport; isPackable: boolean }) {
  const { total_tokens: total, target_tokens: trained, packing } = report;
  const share = (part: number) => `${count(part)} (${total > 0 ? Math.round((100 * part) / total) : 0} %)`;
  const format = report.unit === "part" ? report.file_format : `${report.file_format}, ${report.format}`;
  const facts: [string, string][] = [
    ["Format", format],
    ["Records", count(report.records)],
    ["Examples", count(report.examples)],
    ["Truncated", `${count(report.truncated)} cut to ${plural(report.limit, "token")}`],
    ["Dropped", dropped(report)],
    ["Duplicates", count(report.duplicates)],
    ["Trained tokens", share(trained)],
    ["Masked tokens", share(total - trained)],
  ];
  if (isPackable) {
    const rows = `${plural(packing.rows, "row")} of ${count(packing.max_length)}`;
    const full = `${(100 * packing.efficiency).toFixed(1)} % full`;
    facts.push([settings.value.packing ? "Packed" : "Packed, if chosen", `${rows}, ${full}`]);
  }
  return (
    <dl class="facts counts">
      {facts.map(([term, value]) => (
        <div key={term}>
          <dt>{term}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** How many rows give no example, and why. */
function dropped({ skipped, refused, without_targets, cut_away }: DataReport): string {
  const reasons = [
    [skipped.count, "no record"],
    [refused.count, "refused by the chat template"],
    [without_targets - cut_away, "nothing to train on"],
    [cut_away, "nothing to train on once cut"],
  ] as const;
  const given = reasons.filter(([rows]) => rows > 0);
  const total = given.reduce((sum, [rows]) => sum + rows, 0);
  if (given.length === 0) return "0";
  return `${count(total)} (${given.map(([rows, why]) => (given.length > 1 ? `${count(rows)} ${why}` : why)).join(", ")})`;
}

function Rows({ rejected, unit, what }: { rejected: Rejected; unit: string; what: string }) {
  if (rejected.count === 0) return null;
  const rest = rejected.count - LISTED_ROWS;
  return (
    <details class="skipped" open>
      <summary>
        {plural(rejected.count, unit)} {what}
      </summary>
      <ul>
        {rejected.first.slice(0, LISTED_ROWS).map(({ line, reason }) => (
          <li key={line}>
            <strong>
              {unit.charAt(0).toUpperCase() + unit.slice(1)} {line}:
            </strong>{" "}
            {reason}
          </li>
        ))}
      </ul>
      {rest > 0 && <p class="hint">and {plural(rest, `more ${unit}`)}</p>}
    </details>
  );
}
