// d = rstd·(w⊙d) − x·rstd³·mean(w⊙d⊙x) for each head of each row, in place: the gradient of the norm's
// output becomes that of its input
// Shapes    x [rows, heads·head_dim]; d [rows, ldd], of which the first heads·head_dim columns are used;
//           weight w [head_dim]; rstd [rows, heads].
// Dispatch  one workgroup of 64 per row and head, over x and y.
// Output    d =
struct Params { rows: u32, heads: u32, head_dim: u32, ldd: u32, }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@group(0) @binding(3) var<storage, read> rstd: array<f32>;
@group(0) @binding(4) var<storage, read_write> d: array<f32>;

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
  let d_at = item / params.heads * params.ldd + item % params.heads * dim;
  var dot = 0.0;
  for (var i = t; i < dim; i += LANES) { dot = fma(scale[i] * d[d_at + i], x[at + i], dot); }
  let inverse = rstd[item];
  let pull = row_sum(dot, t) / f32(dim) * inverse * inverse * inverse;
  // A lane writes the columns that it alone has read.
  for (var i = t; i < dim; i += LANES) { d[d_at + i] = inverse * scale[i] * d[d_at + i] - x[at + i] * pull; }
}
