// y = x, widened from f16
// Shapes    x, y [4·quads]; x packed, two to a word, low half first.
// Dispatch  ⌈quads/256⌉ workgroups of 256, in x and y.
// Output    y =
struct Params { quads: u32, }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let i = (wg.y * grid.x + wg.x) * 256u + t;
  if i >= params.quads { return; }
  let packed = x[i];
  y[i] = vec4(unpack2x16float(packed.x), unpack2x16float(packed.y));
}
