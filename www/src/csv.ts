/** Tables for other programs: comma-separated values as RFC 4180 has them. */

export type Cell = string | number | undefined;

export function csv(header: readonly string[], rows: Iterable<readonly Cell[]>): Blob {
  const lines = [header, ...rows].map((row) => `${row.map(cell).join(",")}\r\n`);
  return new Blob(lines, { type: "text/csv" });
}

function cell(value: Cell): string {
  if (value === undefined) return "";
  if (typeof value === "number") return String(value);
  // A title that begins as a formula does must stay a title.
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return quoted(text);
}

/** A cell's text, in quotes where it needs them. */
export const quoted = (text: string): string => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
