// y[i,:] = W[index[i],:]: embedding lookup, and picking the rows that have a target
// Shapes    index [rows], W [count, width] as stored, y [rows, width]; an index of 2³²−1 gives zeros. W holds
//           the rows from `first` on of a table that may lie in several parts.
// Dispatch  ⌈rows·width/256⌉ workgroups of 256, in x and y.
// Output    y =, in the rows whose index W holds (zeros: with the table's first part)
struct Params { rows: u32, width: u32, first: u32, count: u32, }
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
    if params.first == 0u { y[i] = 0.0; }
  } else if row - params.first < params.count {
    y[i] = weight((row - params.first) * params.width + i % params.width);
  }
}
