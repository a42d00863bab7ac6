// Weight storage: IEEE half, two to a word, low half first; widened exactly.
@group(0) @binding(2) var<storage, read> weights: array<u32>;
fn weight(i: u32) -> f32 {
  let pair = unpack2x16float(weights[i >> 1u]);
  return select(pair.x, pair.y, (i & 1u) == 1u);
}
