// Rotary positions, in place: (x1, x2) ← (x1·cos − x2·sin, x2·cos + x1·sin), x1 and x2 the halves of
// the first `rotary` columns of a head (Su et al., arXiv:2104.09864, in Llama's half-split layout). The
// backward pass turns the other way: direction = −1.
// Shapes    x [rows, ld], of which the first heads·head_dim columns are heads; positions [rows]; table
//           [positions, rotary]: rotary/2 cosines, then as many sines.
// Dispatch  ⌈rows·heads·rotary/2/256⌉ workgroups of 256, in x and y.
// Output    x =
struct Params { rows: u32, heads: u32, head_dim: u32, rotary: u32, ld: u32, direction: f32, }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> positions: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<f32>;
@group(0) @binding(3) var<storage, read_write> x: array<f32>;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let half = params.rotary / 2u;
  let i = (wg.y * grid.x + wg.x) * 256u + t;
  if i >= params.rows * params.heads * half { return; }
  let pair = i % half;
  let head = (i / half) % params.heads;
  let row = i / half / params.heads;
  let angle = positions[row] * params.rotary + pair;
  let c = table[angle];
  let s = table[angle + half] * params.direction;
  let first = row * params.ld + head * params.head_dim + pair;
  let x1 = x[first];
  let x2 = x[first + half];
  x[first] = x1 * c - x2 * s;
  x[first + half] = x2 * c + x1 * s;
}
