// Weight storage: bfloat16, two to a word, low half first; widened exactly, four at a time.
@group(0) @binding(2) var<storage, read> weights: array<vec2<u32>>;
fn weight_quad(i: u32) -> vec4<f32> {
  let words = weights[i];
  return bitcast<vec4<f32>>(vec4(words.x << 16u, words.x & 0xffff0000u, words.y << 16u, words.y & 0xffff0000u));
}
