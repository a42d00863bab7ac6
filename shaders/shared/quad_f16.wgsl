// Weight storage: IEEE half, two to a word, low half first; widened exactly, four at a time.
@group(0) @binding(2) var<storage, read> weights: array<vec2<u32>>;
fn weight_quad(i: u32) -> vec4<f32> {
  let words = weights[i];
  return vec4(unpack2x16float(words.x), unpack2x16float(words.y));
}
