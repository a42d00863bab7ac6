import { useEffect, useRef } from "preact/hooks";
import type { RefObject } from "preact";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

/** What a plot takes from the page's styles. */
export interface Look {
  colour: (variable: string) => string;
  axis: uPlot.Axis;
}

type Parts = [Omit<uPlot.Options, "width" | "height">, uPlot.AlignedData];

/** A plot that nobody points at, as wide as its holder; made anew when `key` or the colour scheme is another. */
export function usePlot(key: string, height: number, parts: (look: Look) => Parts): RefObject<HTMLDivElement | null> {
  const holder = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const element = holder.current;
    if (!element) return;
    let plot: uPlot | undefined;
    const size = () => ({ width: Math.max(1, element.clientWidth), height });
    const make = () => {
      plot?.destroy();
      const [options, data] = parts(lookOf(element));
      plot = new uPlot({ ...options, ...size(), legend: { show: false }, cursor: { show: false } }, data, element);
    };
    make();
    const resize = new ResizeObserver(() => plot?.setSize(size()));
    resize.observe(element);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", make);
    return () => {
      dark.removeEventListener("change", make);
      resize.disconnect();
      plot?.destroy();
    };
  }, [key]);
  return holder;
}

function lookOf(element: HTMLElement): Look {
  const style = getComputedStyle(element);
  const colour = (variable: string) => style.getPropertyValue(variable).trim();
  const line = { stroke: colour("--line"), width: 1 };
  return { colour, axis: { stroke: colour("--soft"), font: "12px system-ui, sans-serif", grid: line, ticks: line } };
}
