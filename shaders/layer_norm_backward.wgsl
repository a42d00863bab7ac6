// dx (+)= rstd·(g − mean(g) − n·mean(g⊙n)), with g = w⊙dy and n = (x − mean(x))·rstd
// Shapes    x, dy, dx [rows, width], weight w [width], rstd [rows].
// Dispatch  one workgroup of 64 per row, rows over x and y.
// Numerics  f32; the mean of x is computed again.
// Output    dx =, or += with `accumulate` (the residual stream's own gradient is already there)
struct Params { rows: u32, width: u32, accumulate: u32, }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@group(0) @binding(3) var<storage, read> rstd: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let row = wg.y * grid.x + wg.x;
  if row >= params.rows { return; }
  let at = row * params.width;
  let width = f32(params.width);
  var sum = 0.0;
  var sum_g = 0.0;
  for (var i = t; i < params.width; i += LANES) {
    sum += x[at + i];
    sum_g = fma(scale[i], dy[at + i], sum_g);
  }
  let mean = row_sum(sum, t) / width;
  let mean_g = row_sum(sum_g, t) / width;
  let inverse = rstd[row];
  var dot = 0.0;
  for (var i = t; i < params.width; i += LANES) {
    dot = fma(scale[i] * dy[at + i], (x[at + i] - mean) * inverse, dot);
  }
  let pull = row_sum(dot, t) / width;
  for (var i = t; i < params.width; i += LANES) {
    var value = inverse * (scale[i] * dy[at + i] - mean_g - (x[at + i] - mean) * inverse * pull);
    if params.accumulate != 0u { value += dx[at + i]; }
    dx[at + i] = value;
  }
}
