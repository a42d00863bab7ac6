/** What a person does to the charts. */
import { logarithmic, overlaid, pointed, smoothing, zoom } from "../state";

export const smoothBy = (share: number) => (smoothing.value = share);
export const scaleByLogarithm = (on: boolean) => (logarithmic.value = on);
/** Shows these steps; without any, all. */
export const zoomTo = (range?: readonly [from: number, to: number]) => (zoom.value = range);
export const pointAt = (step: number | undefined) => (pointed.value = step);

/** Draws a kept run's curves over the others, or no longer. */
export function overlay(id: string, on: boolean): void {
  const others = overlaid.value.filter((other) => other !== id);
  overlaid.value = on ? [...others, id] : others;
}
