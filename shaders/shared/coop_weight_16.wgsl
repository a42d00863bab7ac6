// Weight storage: 16 bits, two to a word; as f16, whose range weights do not leave. Needs `widen`.
@group(0) @binding(2) var<storage, read> weights: array<vec4<u32>>;
fn weight8(i: u32) -> mat2x4<f16> {
  let words = weights[i >> 3u];
  return mat2x4<f16>(
    vec4<f16>(vec4(widen(words.x), widen(words.y))),
    vec4<f16>(vec4(widen(words.z), widen(words.w))),
  );
}
