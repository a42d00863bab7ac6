// Weight storage: 16 bits, two to a word, four at a time. Needs `widen`.
@group(0) @binding(2) var<storage, read> weights: array<vec2<u32>>;
fn weight_quad(i: u32) -> vec4<f32> {
  let words = weights[i];
  return vec4(widen(words.x), widen(words.y));
}
