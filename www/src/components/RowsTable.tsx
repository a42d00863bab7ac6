import type { FirstRows } from "postil";
import { useSignal } from "@preact/signals";
import { plural } from "../format";
import { fieldOf } from "./ColumnMap";

/** Of a cell that is shown before it is asked for whole. */
const SHOWN = 120;

interface RowsTableProps {
  rows: FirstRows;
  /** As the report names it. */
  format: string;
  /** Columns that have other names than the fields that they are read as. */
  columns: Record<string, string>;
  isOpen: boolean;
}

/** The first rows as they are in the file, and which column is read as what. */
export function RowsTable({ rows: { columns, rows }, format, columns: mapped, isOpen }: RowsTableProps) {
  if (rows.length === 0) return null;
  return (
    <details class="rows" open={isOpen}>
      <summary>The first {plural(rows.length, "row")}</summary>
      <div class="table-scroll" tabIndex={0} role="group" aria-label="First rows">
        <table>
          <thead>
            <tr>
              {columns.map((column) => {
                const field = fieldOf(column, format, mapped);
                return (
                  <th scope="col" key={column}>
                    {column}
                    <small>{field === undefined ? "not read" : field === column ? "read" : `read as ${field}`}</small>
                  </th>
                );
              })}
            </tr>
          </thead>
          <tbody>
            {rows.map((cells, index) => (
              <tr key={index}>
                {cells.map((cell, column) => (
                  <td key={column}>
                    <Cell text={spoken(cell) ?? cell} />
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  );
}

function Cell({ text }: { text: string }) {
  const open = useSignal(false);
  if (text.length <= SHOWN) return <>{text}</>;
  return (
    <details onToggle={({ currentTarget }) => (open.value = currentTarget.open)}>
      <summary>{open.value ? "Less" : `${text.slice(0, SHOWN)}…`}</summary>
      <span class="whole">{text}</span>
    </details>
  );
}

/** A conversation as its lines; nothing if the cell is none. */
function spoken(cell: string): string | undefined {
  if (!cell.startsWith("[{")) return undefined;
  try {
    const turns = JSON.parse(cell) as Record<string, unknown>[];
    const lines = turns.map(({ role, from, content, value }) => `${role ?? from}: ${content ?? value}`);
    return turns.every(({ role, from }) => role ?? from) ? lines.join("\n") : undefined;
  } catch {
    return undefined;
  }
}
