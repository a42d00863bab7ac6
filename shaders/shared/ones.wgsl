// Four neighbours of a line of x or of a weight, the line from `start` on of `count` elements, 0 from its end on. Needs shared/matmul.wgsl.
@group(0) @binding(1) var<storage, read> x: array<f32>;
fn x4(start: u32, i: u32, count: u32) -> vec4<f32> {
  let at = places(start, i, count);
  return select(vec4<f32>(), vec4(x[at.x], x[at.y], x[at.z], x[at.w]), present(i, count));
}
fn weight4(start: u32, i: u32, count: u32) -> vec4<f32> {
  let at = places(start, i, count);
  return select(vec4<f32>(), vec4(weight(at.x), weight(at.y), weight(at.z), weight(at.w)), present(i, count));
}
