/** Numbers as people read them. */
import type { Progress } from "postil";

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

export const count = (value: number): string => whole.format(value);
export const compact = (value: number): string => short.format(value);
export const loss = (value: number): string => value.toFixed(4);
export const percent = (value: number): string => `${value.toPrecision(3)} %`;
export const rate = (value: number): string => `${whole.format(Math.round(value))} tokens/s`;
export const scientific = (value: number): string => (value === 0 ? "0" : value.toExponential(2));

export function bytes(value: number): string {
  if (value < 2 ** 20) return `${Math.ceil(value / 2 ** 10)} KiB`;
  if (value >= 2 ** 30) return `${(value / 2 ** 30).toFixed(value < 100 * 2 ** 30 ? 1 : 0)} GiB`;
  return `${(value / 2 ** 20).toFixed(value < 100 * 2 ** 20 ? 1 : 0)} MiB`;
}

export function duration(seconds: number): string {
  const total = Math.max(1, Math.round(seconds));
  if (total < 60) return `${total} s`;
  const minutes = Math.floor(total / 60);
  return minutes < 60 ? `${minutes} min ${total % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export function plural(value: number, one: string, many = `${one}s`): string {
  return `${whole.format(value)} ${value === 1 ? one : many}`;
}

/** How far bytes on their way are. */
export function progressText({ done, total, bytesPerSecond, secondsLeft }: Progress): string {
  if (total === 0) return "";
  const speed = bytesPerSecond ? `, ${bytes(bytesPerSecond)}/s` : "";
  const left = secondsLeft && secondsLeft >= 1 ? `, ${duration(secondsLeft)} left` : "";
  return `${bytes(done)} of ${bytes(total)}${speed}${left}`;
}
