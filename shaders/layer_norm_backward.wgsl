// dx (+)= rstd·(g − mean(g) − n·mean(g⊙n)), with g = w⊙dy and n = (x − mean(x))·rstd; and dx once more, as an operand, if
// one is wanted
// Shapes    x, dy, dx, operand [rows, width], weight w [width], rstd [rows].
// Dispatch  one workgroup of 64 per row, rows over x and y.
// Numerics  f32; the mean of x is computed again.
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
  let width = f32(params.width);
  var sum = 0.0;
  var sum_g = 0.0;
  for (var i = t; i < count; i += LANES) {
    sum += part_dot(x_at(at + i), Part(1.0));
    sum_g += part_dot(scale_at(i), dy_at(at + i));
  }
  let mean = row_sum(sum, t) / width;
  let mean_g = row_sum(sum_g, t) / width;
  let inverse = rstd[row];
  var dot_x = 0.0;
  for (var i = t; i < count; i += LANES) {
    dot_x += part_dot(scale_at(i) * dy_at(at + i), (x_at(at + i) - mean) * inverse);
  }
  let pull = row_sum(dot_x, t) / width;
  for (var i = t; i < count; i += LANES) {
    var value = inverse * (scale_at(i) * dy_at(at + i) - mean_g - (x_at(at + i) - mean) * inverse * pull);
    if params.accumulate != 0u { value += dx_at(at + i); }
    dx_put(at + i, value);
    operand_put(at + i, value);
  }
}
