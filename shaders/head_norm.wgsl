// y = x · rstd · weight for each head of each row, rstd = 1/√(mean(x²) + eps) over the head's columns
// (query-key normalisation: Henry et al., arXiv:2010.04245, with RMSNorm)
// Shapes    x [rows, heads·head_dim]; y [rows, ldy] from column y_offset, of which heads·head_dim columns are written;
//           weight [head_dim]; rstd [rows, heads] (kept for the backward pass).
// Dispatch  one workgroup of 64 per row and head, over x and y.
// Output    y =, rstd =
struct Params { rows: u32, heads: u32, head_dim: u32, ldy: u32, y_offset: u32, eps: f32, }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read_write> rstd: array<f32>;

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let item = wg.y * grid.x + wg.x;
  if item >= params.rows * params.heads { return; }
  let dim = params.head_dim;
  let at = item * dim;
  let to = item / params.heads * params.ldy + params.y_offset + item % params.heads * dim;
  var squares = 0.0;
  for (var i = t; i < dim; i += LANES) { squares = fma(x[at + i], x[at + i], squares); }
  let inverse = 1.0 / sqrt(row_sum(squares, t) / f32(dim) + params.eps);
  for (var i = t; i < dim; i += LANES) { y[to + i] = x[at + i] * inverse * scale[i]; }
  if t == 0u { rstd[item] = inverse; }
}
