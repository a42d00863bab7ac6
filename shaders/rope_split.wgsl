// q, kv = the columns of x, with rotary positions on queries and keys (see shared/rope_turn.wgsl)
// Shapes    x [rows, q_width + kv_width]: queries, keys, values; q [rows, q_width], kv [rows, kv_width]; positions [rows];
//           table [count, rotary] as in rope.wgsl, rotary = 0 without.
// Dispatch  ⌈rows·(q_width + kv_width)/WIDE/256⌉ workgroups of 256, in x and y.
// Output    q =, kv =, in the rows whose position the table holds
struct Params {
  rows: u32, q_width: u32, kv_width: u32, head_dim: u32, rotary: u32,
  first: u32, count: u32,
  direction: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> positions: array<u32>;

fn source(row: u32, c: u32) -> Part { return x_at((row * (params.q_width + params.kv_width) + c) / WIDE); }

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
  let c = i % units * WIDE;
  let value = turned(row, c);
  if c < params.q_width {
    q_put((row * params.q_width + c) / WIDE, value);
  } else {
    kv_put((row * params.kv_width + c - params.q_width) / WIDE, value);
  }
}
