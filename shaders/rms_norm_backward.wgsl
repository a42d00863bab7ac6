// dx (+)= rstd·(w⊙dy) − x·rstd³·mean(w⊙dy⊙x); and dx once more, as an operand, if one is wanted
// Shapes    x, dy, dx, operand [rows, width], weight w [width], rstd [rows].
// Dispatch  one workgroup of 64 per row, rows over x and y.
// Output    dx =, or += with `accumulate` (the residual stream's own gradient is already there); operand =
struct Params { rows: u32, width: u32, accumulate: u32, }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read> rstd: array<f32>;

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let row = wg.y * grid.x + wg.x;
  if row >= params.rows { return; }
  let count = params.width / WIDE;
  let at = row * count;
  var dot_x = 0.0;
  for (var i = t; i < count; i += LANES) { dot_x += part_dot(scale_at(i) * dy_at(at + i), x_at(at + i)); }
  let inverse = rstd[row];
  let pull = row_sum(dot_x, t) / f32(params.width) * inverse * inverse * inverse;
  for (var i = t; i < count; i += LANES) {
    var value = inverse * scale_at(i) * dy_at(at + i) - x_at(at + i) * pull;
    if params.accumulate != 0u { value += dx_at(at + i); }
    dx_put(at + i, value);
    operand_put(at + i, value);
  }
}
