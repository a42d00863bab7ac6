// y = x rounded to f16
// Shapes    x, y [4·quads]; y packed, two to a word, low half first.
// Dispatch  ⌈quads/256⌉ workgroups of 256, in x and y.
// Numerics  what f16 does not reach is its largest number.
// Output    y =
struct Params { quads: u32, }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec2<u32>>;

const LARGEST: vec4<f32> = vec4(65504.0);

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let i = (wg.y * grid.x + wg.x) * 256u + t;
  if i >= params.quads { return; }
  let v = clamp(x[i], -LARGEST, LARGEST);
  y[i] = vec2(pack2x16float(v.xy), pack2x16float(v.zw));
}
