import type { DataReport } from "postil";
import { count, plural } from "../format";
import { later } from "./later";

const PERCENTILES = [
  ["Shortest", "min"],
  ["5 %", "p5"],
  ["25 %", "p25"],
  ["Median", "p50"],
  ["75 %", "p75"],
  ["95 %", "p95"],
  ["99 %", "p99"],
  ["Longest", "max"],
] as const;

const LengthsPlot = later(
  () => import("./LengthsPlot").then(({ LengthsPlot }) => LengthsPlot),
  () => <div class="lengths-plot" />,
);

/** How long the records are against the maximum length. */
export function Lengths({ report }: { report: DataReport }) {
  const { histogram, lengths, limit } = report;
  if (histogram.length === 0) return null;
  const isCut = limit < lengths.max;
  return (
    <figure class="lengths">
      <figcaption>
        Tokens of each record, before cutting (mean {lengths.mean.toFixed(1)});{" "}
        {isCut ? "dashed: the" : "all are within the"} maximum length of {count(limit)}
      </figcaption>
      <LengthsPlot report={report} label={describe(report)} />
    </figure>
  );
}

/** The same in numbers. */
export function LengthNumbers({ report: { histogram, lengths } }: { report: DataReport }) {
  if (histogram.length === 0) return null;
  return (
    <>
      <dl class="facts percentiles">
        {PERCENTILES.map(([term, name]) => (
          <div key={name}>
            <dt>{term}</dt>
            <dd>{count(lengths[name])}</dd>
          </div>
        ))}
      </dl>
      <details>
        <summary>Lengths as a table</summary>
        <div class="table-scroll" tabIndex={0} role="group" aria-label="Records by length">
          <table>
            <thead>
              <tr>
                <th scope="col">Tokens</th>
                <th scope="col">Records</th>
              </tr>
            </thead>
            <tbody>
              {histogram.map(({ from, to, examples }) => (
                <tr key={from}>
                  <th scope="row">{range(from, to)}</th>
                  <td>{count(examples)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </details>
    </>
  );
}

const range = (from: number, to: number) => (from === to ? count(from) : `${count(from)}–${count(to)}`);

function describe({ histogram, lengths, limit, truncated }: DataReport): string {
  const peak = histogram.reduce((best, bar) => (bar.examples > best.examples ? bar : best));
  const many = plural(peak.examples, "record");
  const cut = truncated === 0 ? "none is longer" : `${plural(truncated, "record")} longer, and cut`;
  return (
    `Histogram of lengths, from ${count(lengths.min)} to ${plural(lengths.max, "token")}; ` +
    `most (${many}) have ${range(peak.from, peak.to)}. Maximum length ${count(limit)}: ${cut}.`
  );
}
