// y = the columns of q and kv beside each other, with rotary positions on queries and keys (see shared/rope_turn.wgsl)
// Shapes    as in rope_split.wgsl, y in the place of x.
// Dispatch  ⌈rows·(q_width + kv_width)/WIDE/256⌉ workgroups of 256, in x and y.
// Output    y =, in the rows whose position the table holds
struct Params {
  rows: u32, q_width: u32, kv_width: u32, head_dim: u32, rotary: u32,
  first: u32, count: u32,
  direction: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> positions: array<u32>;

fn source(row: u32, c: u32) -> Part {
  if c < params.q_width { return q_at((row * params.q_width + c) / WIDE); }
  return kv_at((row * params.kv_width + c - params.q_width) / WIDE);
}

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let i = (wg.y * grid.x + wg.x) * 256u + t;
  let units = (params.q_width + params.kv_width) / WIDE;
  let row = i / units;
  if row >= params.rows || !is_held(row) { return; }
  y_put(i, turned(row, i % units * WIDE));
}
