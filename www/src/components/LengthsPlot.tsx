import type { DataReport } from "postil";
import uPlot from "uplot";
import { count } from "../format";
import { usePlot, type Look } from "./charts/usePlot";

const HEIGHT = 130;

/** A bar for each range of lengths; those over the maximum length are hollow and stand behind a dashed line. */
export function LengthsPlot({ report, label }: { report: DataReport; label: string }) {
  const { histogram, limit } = report;
  const key = JSON.stringify([histogram, limit]);
  const holder = usePlot(key, HEIGHT, (look) => [options(look, report), columns(report)]);
  return <div ref={holder} class="lengths-plot" role="img" aria-label={label} />;
}

function columns({ histogram, limit }: DataReport): uPlot.AlignedData {
  const isOver = histogram.map(({ from }) => from > limit);
  return [
    histogram.map(({ from, to }) => (from + to + 1) / 2),
    histogram.map(({ examples }, index) => (isOver[index] ? null : examples)),
    histogram.map(({ examples }, index) => (isOver[index] ? examples : null)),
  ];
}

function options({ axis, colour }: Look, { histogram, limit }: DataReport): Omit<uPlot.Options, "width" | "height"> {
  const [first, end] = [histogram[0]!.from, histogram.at(-1)!.to + 1];
  const paths = uPlot.paths.bars!({ size: [0.9, Infinity] });
  const bars = { paths, points: { show: false } };
  const drawLimit = (plot: uPlot) => {
    if (limit + 1 <= first || limit + 1 >= end) return;
    const { ctx, bbox } = plot;
    const x = plot.valToPos(limit + 1, "x", true);
    ctx.save();
    ctx.strokeStyle = colour("--ink");
    ctx.lineWidth = 2 * uPlot.pxRatio;
    ctx.setLineDash([5 * uPlot.pxRatio, 4 * uPlot.pxRatio]);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.restore();
  };
  return {
    scales: { x: { time: false, range: [first, end] }, y: { range: (_, __, most) => [0, Math.max(1, most ?? 1)] } },
    axes: [
      { ...axis, size: 28, grid: { show: false }, values: (_, splits) => splits.map((value) => (Number.isInteger(value) ? count(value) : "")) },
      { ...axis, size: 50, incrs: [1, 2, 5].flatMap((step) => [1, 10, 100, 1e3, 1e4, 1e5, 1e6].map((power) => step * power)).sort((a, b) => a - b), values: (_, splits) => splits.map(count) },
    ],
    series: [
      {},
      { ...bars, fill: colour("--plot-train"), width: 0 },
      { ...bars, stroke: colour("--plot-held"), width: 1.5 },
    ],
    hooks: { draw: [drawLimit] },
  };
}
