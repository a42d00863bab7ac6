// y = (x − mean)·rstd·weight + bias, rstd = 1/√(mean((x − mean)²) + eps)   (Ba et al., arXiv:1607.06450)
// Shapes    x, y [rows, width], weight, bias [width], rstd [rows] (kept for the backward pass).
// Dispatch  one workgroup of 64 per row, rows over x and y.
// Numerics  f32; the variance is of differences from the mean, so it does not cancel.
// Output    y =, rstd =
struct Params { rows: u32, width: u32, eps: f32, }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read_write> rstd: array<f32>;

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let row = wg.y * grid.x + wg.x;
  if row >= params.rows { return; }
  let at = row * params.width;
  var sum = 0.0;
  for (var i = t; i < params.width; i += LANES) { sum += x[at + i]; }
  let mean = row_sum(sum, t) / f32(params.width);
  var squares = 0.0;
  for (var i = t; i < params.width; i += LANES) {
    let difference = x[at + i] - mean;
    squares = fma(difference, difference, squares);
  }
  let inverse = 1.0 / sqrt(row_sum(squares, t) / f32(params.width) + params.eps);
  for (var i = t; i < params.width; i += LANES) {
    y[at + i] = (x[at + i] - mean) * inverse * scale[i] + bias[i];
  }
  if t == 0u { rstd[row] = inverse; }
}
