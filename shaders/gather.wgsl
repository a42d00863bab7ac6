// y[i,:] = W[index[i],:]: embedding lookup, and picking the rows that have a target
// Shapes    index [rows], W [any, width] as stored, y [rows, width]; an index of 2³²−1 gives zeros.
// Dispatch  ⌈rows·width/256⌉ workgroups of 256, in x and y.
// Output    y =
struct Params { rows: u32, width: u32, }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> index: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let i = (wg.y * grid.x + wg.x) * 256u + t;
  if i >= params.rows * params.width { return; }
  let row = index[i / params.width];
  if row == 0xffffffffu {
    y[i] = 0.0;
  } else {
    y[i] = weight(row * params.width + i % params.width);
  }
}
