// y[g] (+)= f(Σ x or x² over group g's share): sums of losses, and the gradient's norm in two passes
// Shapes    x [count], y [groups].
// Dispatch  (groups, 1, 1) workgroups of 256; group g takes x[g·256 + t], then every groups·256th.
// Numerics  f32 in a fixed order: each lane's share, then lanes in order.
// Output    y =, or += with `accumulate`; √ of the sum with `root`
struct Params { count: u32, square: u32, root: u32, accumulate: u32, }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

var<workgroup> lanes: array<f32, 256>;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  var sum = 0.0;
  for (var i = wg.x * 256u + t; i < params.count; i += grid.x * 256u) {
    let value = x[i];
    sum += select(value, value * value, params.square != 0u);
  }
  lanes[t] = sum;
  workgroupBarrier();
  if t != 0u { return; }
  var total = 0.0;
  for (var i = 0u; i < 256u; i++) { total += lanes[i]; }
  if params.root != 0u { total = sqrt(total); }
  if params.accumulate != 0u { total += y[wg.x]; }
  y[wg.x] = total;
}
