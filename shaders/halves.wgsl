// y = x, rounded to 16 bits or widened from them
// Shapes    x, y [4·quads].
// Dispatch  ⌈quads/256⌉ workgroups of 256, in x and y.
// Output    y =
struct Params { quads: u32, }
@group(0) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let i = (wg.y * grid.x + wg.x) * 256u + t;
  if i < params.quads { y_put(i, x_at(i)); }
}
