// y[index[i],:] = x[i,:]: gradients back to their rows, keys and values into the cache
// Shapes    index [rows], no value twice; x [rows, width], y [count, width]: the rows from `first` on of a
//           tensor that may lie in several parts; an index of 2³²−1 is skipped.
// Dispatch  ⌈rows·width/256⌉ workgroups of 256, in x and y.
// Output    y =, only in the rows named
struct Params { rows: u32, width: u32, first: u32, count: u32, }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> index: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
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
  // 2³²−1 is in no part.
  if row - params.first < params.count { y[(row - params.first) * params.width + i % params.width] = x[i]; }
}
