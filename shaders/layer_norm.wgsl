// y = (x − mean)·rstd·weight + bias, rstd = 1/√(mean((x − mean)²) + eps)   (Ba et al., arXiv:1607.06450); and x once
// more, if it is kept
// Shapes    x, y, kept [rows, width], weight, bias [width], rstd [rows] (for the backward pass).
// Dispatch  one workgroup of 64 per row, rows over x and y.
// Numerics  f32; the variance is of differences from the mean, so it does not cancel.
// Output    y =, rstd =, kept =
struct Params { rows: u32, width: u32, eps: f32, }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(4) var<storage, read_write> rstd: array<f32>;

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
  var sum = 0.0;
  for (var i = t; i < count; i += LANES) { sum += part_dot(x_at(at + i), Part(1.0)); }
  let mean = row_sum(sum, t) / f32(params.width);
  var squares = 0.0;
  for (var i = t; i < count; i += LANES) {
    let difference = x_at(at + i) - mean;
    squares += part_dot(difference, difference);
  }
  let inverse = 1.0 / sqrt(row_sum(squares, t) / f32(params.width) + params.eps);
  for (var i = t; i < count; i += LANES) {
    let v = x_at(at + i);
    y_put(at + i, (v - mean) * inverse * scale_at(i) + bias_at(i));
    kept_put(at + i, v);
  }
  if t == 0u { rstd[row] = inverse; }
}
