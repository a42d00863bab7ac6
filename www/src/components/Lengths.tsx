import type { DataReport } from "postil";
import { count, plural } from "../format";

const WIDTH = 320;
const HEIGHT = 80;
/** Between bars. */
const GAP = 2;
/** Of a bar that counts anything. */
const LEAST_HEIGHT = 2;

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

/** How long the records are against the maximum length: drawn, and as numbers. */
export function Lengths({ report }: { report: DataReport }) {
  const { histogram, lengths } = report;
  if (histogram.length === 0) return null;
  return (
    <figure class="lengths">
      <figcaption>Tokens of each record, before cutting (mean {lengths.mean.toFixed(1)})</figcaption>
      <Drawing report={report} />
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
    </figure>
  );
}

function Drawing({ report }: { report: DataReport }) {
  const { histogram, limit } = report;
  const first = histogram[0]!.from;
  const end = histogram[histogram.length - 1]!.to + 1;
  const most = Math.max(1, ...histogram.map(({ examples }) => examples));
  const at = (tokens: number) => ((tokens - first) / (end - first)) * WIDTH;
  const cut = limit + 1 < end && limit + 1 > first ? at(limit + 1) : undefined;
  return (
    <>
      <svg
        class="histogram"
        role="img"
        aria-label={describe(report)}
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
        preserveAspectRatio="none"
      >
        {histogram.map(({ from, to, examples }) => {
          const height = examples === 0 ? 0 : Math.max(LEAST_HEIGHT, (examples / most) * HEIGHT);
          return (
            <rect
              key={from}
              class={from > limit ? "bar over" : "bar"}
              x={at(from) + GAP / 2}
              y={HEIGHT - height}
              width={Math.max(1, at(to + 1) - at(from) - GAP)}
              height={height}
            />
          );
        })}
        {cut !== undefined && <line class="limit" x1={cut} x2={cut} y1={0} y2={HEIGHT} />}
      </svg>
      <p class="histogram-ends" aria-hidden="true">
        <span>{count(first)}</span>
        <span>{cut === undefined ? `maximum length ${count(limit)}` : `dashed: maximum length ${count(limit)}`}</span>
        <span>{count(end - 1)}</span>
      </p>
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
