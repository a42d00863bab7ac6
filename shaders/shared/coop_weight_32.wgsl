// Weight storage: f32, rounded to f16.
@group(0) @binding(2) var<storage, read> weights: array<vec4<f32>>;
fn weight8(i: u32) -> mat2x4<f16> {
  return mat2x4<f16>(vec4<f16>(weights[i >> 2u]), vec4<f16>(weights[(i >> 2u) + 1u]));
}
