// y[i] (+)= Σ_z parts[z, at + i]: what the shares of a sum over tokens gave
// Shapes    parts [shares, stride], y [count] with at + count ≤ stride.
// Dispatch  ⌈count/256⌉ workgroups of 256, in x and y.
// Numerics  f32, shares in rising order.
// Output    y =, or += with `accumulate`
struct Params { count: u32, at: u32, stride: u32, shares: u32, accumulate: u32, }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> parts: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let i = (wg.y * grid.x + wg.x) * 256u + t;
  if i >= params.count { return; }
  var sum = 0.0;
  for (var z = 0u; z < params.shares; z++) { sum += parts[z * params.stride + params.at + i]; }
  if params.accumulate != 0u { sum += y[i]; }
  y[i] = sum;
}
