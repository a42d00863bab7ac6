// Weight storage: IEEE half, two to a word, low half first.
@group(0) @binding(2) var<storage, read> weights: array<vec4<u32>>;
fn weight8(i: u32) -> mat2x4<f16> {
  let words = weights[i >> 3u];
  return mat2x4<f16>(
    vec4<f16>(vec4(unpack2x16float(words.x), unpack2x16float(words.y))),
    vec4<f16>(vec4(unpack2x16float(words.z), unpack2x16float(words.w))),
  );
}
