// delta = Σ_d dy·y, the softmax's share of the backward pass (FlashAttention, arXiv:2205.14135, B.2)
// Shapes    y, dy [items, head_dim], delta [items]; an item is a row and a head.
// Dispatch  ⌈items/256⌉ workgroups of 256, in x and y.
// Output    delta =
struct Params { items: u32, head_dim: u32, }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> y: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> delta: array<f32>;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let item = (wg.y * grid.x + wg.x) * 256u + t;
  if item >= params.items { return; }
  let at = item * params.head_dim;
  var sum = 0.0;
  for (var d = 0u; d < params.head_dim; d++) { sum = fma(dy[at + d], y[at + d], sum); }
  delta[item] = sum;
}
