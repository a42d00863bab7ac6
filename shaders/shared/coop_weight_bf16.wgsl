// Weight storage: bfloat16, two to a word, low half first; rounded to f16, whose range weights do not leave.
@group(0) @binding(2) var<storage, read> weights: array<vec4<u32>>;
fn widen(word: u32) -> vec2<f32> { return bitcast<vec2<f32>>(vec2(word << 16u, word & 0xffff0000u)); }
fn weight8(i: u32) -> mat2x4<f16> {
  let words = weights[i >> 3u];
  return mat2x4<f16>(
    vec4<f16>(vec4(widen(words.x), widen(words.y))),
    vec4<f16>(vec4(widen(words.z), widen(words.w))),
  );
}
