import type { ModuleCount } from "postil";
import { useSignal } from "@preact/signals";
import { count, percent } from "../format";
import { SelectField } from "./Fields";

/** Of the longest side of W, and of what stands around it, in the drawing's units. */
const LONGEST = 130;
const GAP = 26;
const MARGIN = 18;
/** What is thinner is drawn as a line of this width. */
const THINNEST = 1.5;

/** W beside B and A, to scale: why an adapter is small. */
export function LowRank({ modules }: { modules: readonly ModuleCount[] }) {
  const key = (module: ModuleCount) => `${module.name}, rank ${module.r}`;
  const chosen = useSignal("");
  const shown = modules.find((module) => key(module) === chosen.value) ?? modules[0];
  if (!shown) return null;
  const { in_features: columns, out_features: rows, r } = shown;
  const [whole, small] = [rows * columns, r * (rows + columns)];
  return (
    <figure class="low-rank">
      <SelectField
        label="Picture of"
        hint="The module whose numbers are drawn"
        value={key(shown)}
        options={modules.map((module) => [key(module), key(module)] as const)}
        onChange={(value) => (chosen.value = value)}
      />
      <Drawing columns={columns} rows={rows} r={r} />
      <figcaption>
        The layer’s own W has {count(rows)} × {count(columns)} = {count(whole)} numbers, and they stay as they are. Its
        adapter is the product of B, {count(rows)} × {count(r)}, and A, {count(r)} × {count(columns)}: together{" "}
        {count(small)} numbers, <strong>{ratio(small, whole)}</strong>.
      </figcaption>
    </figure>
  );
}

function ratio(small: number, whole: number): string {
  if (small >= whole) return `more than W has: at this rank the adapter saves nothing`;
  return `${percent((100 * small) / whole)} of W’s, ${(whole / small).toFixed(whole < 10 * small ? 1 : 0)} times fewer`;
}

function Drawing({ columns, rows, r }: { columns: number; rows: number; r: number }) {
  const scale = LONGEST / Math.max(columns, rows, r);
  const side = (size: number) => Math.max(THINNEST, size * scale);
  const [width, height, thin] = [side(columns), side(rows), side(r)];
  const b = MARGIN + width + GAP;
  const a = b + thin + GAP;
  const total = { width: a + width + MARGIN, height: MARGIN + Math.max(height, thin) + 4 };
  return (
    <svg
      class="low-rank-drawing"
      role="img"
      aria-label={`W with ${rows} rows and ${columns} columns, beside B with ${rows} rows and ${r} columns and A with ${r} rows and ${columns} columns, drawn to scale.`}
      viewBox={`0 0 ${total.width.toFixed(1)} ${total.height.toFixed(1)}`}
    >
      <Matrix name="W" x={MARGIN} width={width} height={height} kind="frozen" />
      <text class="sign" x={MARGIN + width + GAP / 2} y={MARGIN + height / 2}>
        +
      </text>
      <Matrix name="B" x={b} width={thin} height={height} kind="trained" />
      <text class="sign" x={b + thin + GAP / 2} y={MARGIN + height / 2}>
        ·
      </text>
      <Matrix name="A" x={a} width={width} height={thin} kind="trained" />
    </svg>
  );
}

function Matrix({
  name,
  x,
  width,
  height,
  kind,
}: {
  name: string;
  x: number;
  width: number;
  height: number;
  kind: string;
}) {
  return (
    <>
      <text x={x + width / 2} y={MARGIN - 5}>
        {name}
      </text>
      <rect class={kind} x={x} y={MARGIN} width={width} height={height} />
    </>
  );
}
