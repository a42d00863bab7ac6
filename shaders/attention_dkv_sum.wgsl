// dk = Σ_h dk_h, dv = Σ_h dv_h over the heads that share a key head
// Shapes    dk_heads, dv_heads [rows, heads·head_dim], dkv [rows, 2·kv_heads·head_dim]: keys, then values.
// Dispatch  ⌈rows·2·kv_heads·head_dim/256⌉ workgroups of 256, in x and y.
// Numerics  f32, heads in rising order.
// Output    dkv =
struct Params { rows: u32, heads: u32, kv_heads: u32, head_dim: u32, }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dk_heads: array<f32>;
@group(0) @binding(2) var<storage, read> dv_heads: array<f32>;
@group(0) @binding(3) var<storage, read_write> dkv: array<f32>;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let i = (wg.y * grid.x + wg.x) * 256u + t;
  let width = params.kv_heads * params.head_dim;
  if i >= params.rows * 2u * width { return; }
  let row = i / (2u * width);
  let column = i % width;
  let group = params.heads / params.kv_heads;
  let first = (row * params.heads + column / params.head_dim * group) * params.head_dim + column % params.head_dim;
  var sum = 0.0;
  for (var h = 0u; h < group; h++) {
    let at = first + h * params.head_dim;
    if i / width % 2u == 0u { sum += dk_heads[at]; } else { sum += dv_heads[at]; }
  }
  dkv[i] = sum;
}
