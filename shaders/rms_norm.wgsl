// y = x · rstd · weight, rstd = 1/√(mean(x²) + eps)   (Zhang & Sennrich, arXiv:1910.07467); and x once more, if it is kept
// Shapes    x, y, kept [rows, width], weight [width], rstd [rows] (for the backward pass).
// Dispatch  one workgroup of 64 per row, rows over x and y.
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
  var squares = 0.0;
  for (var i = t; i < count; i += LANES) {
    let v = x_at(at + i);
    squares += part_dot(v, v);
  }
  let inverse = 1.0 / sqrt(row_sum(squares, t) / f32(params.width) + params.eps);
  for (var i = t; i < count; i += LANES) {
    let v = x_at(at + i);
    y_put(at + i, v * inverse * scale_at(i));
    kept_put(at + i, v);
  }
  if t == 0u { rstd[row] = inverse; }
}
