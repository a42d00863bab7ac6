// delta = Σ_d dy·y, the softmax's share of the backward pass (FlashAttention, arXiv:2205.14135, B.2); and dy once more, as
// an operand, if one is wanted
// Shapes    y, dy, operand [items, head_dim], delta [items]; an item is a row and a head.
// Dispatch  ⌈items/64⌉ workgroups of 64, in x and y.
// Numerics  f32, columns in rising order, as the products dy·v: where a row attends one key both are the same bits.
// Output    delta =, operand =
struct Params { items: u32, head_dim: u32, }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read_write> delta: array<f32>;

const ITEMS: u32 = 64u;
const DEPTH: u32 = 16u;
// A column more than there is keeps the items in different banks.
const LD: u32 = DEPTH + 1u;
var<workgroup> tile_y: array<f32, ITEMS * LD>;
var<workgroup> tile_dy: array<f32, ITEMS * LD>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let first = (wg.y * grid.x + wg.x) * ITEMS;
  if first >= params.items { return; }
  var sum = 0.0;
  for (var d0 = 0u; d0 < params.head_dim; d0 += DEPTH) {
    let count = min(DEPTH, params.head_dim - d0);
    workgroupBarrier();
    const UNITS: u32 = DEPTH / WIDE;
    for (var i = t; i < ITEMS * UNITS; i += ITEMS) {
      let item = i / UNITS;
      let d = i % UNITS * WIDE;
      if first + item >= params.items || d >= count { continue; }
      let at = ((first + item) * params.head_dim + d0 + d) / WIDE;
      let own_y = y_at(at);
      let own_dy = dy_at(at);
      operand_put(at, own_dy);
      for (var e = 0u; e < WIDE; e++) {
        tile_y[item * LD + d + e] = part_element(own_y, e);
        tile_dy[item * LD + d + e] = part_element(own_dy, e);
      }
    }
    workgroupBarrier();
    for (var d = 0u; d < count; d++) { sum = fma(tile_dy[t * LD + d], tile_y[t * LD + d], sum); }
  }
  if first + t < params.items { delta[first + t] = sum; }
}
