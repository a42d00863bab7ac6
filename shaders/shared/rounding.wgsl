// Two numbers in a word, low half first, as IEEE halves or as bfloat16, and back.
// Numerics: to the nearest, of bfloat16 the even one of two as near; what passes f16's range is infinite there, and so is
// NaN, for a loss scale to see. NaN of which every bit is set would be 0 if it were rounded.
fn rounded_f16(v: vec2<f32>) -> u32 {
  let bits = bitcast<vec2<u32>>(v);
  let large = (bits & vec2(0x7fffffffu)) >= vec2(0x477ff000u);
  let infinite = select(vec2(0u), ((bits >> vec2(16u)) & vec2(0x8000u)) | vec2(0x7c00u), large);
  return pack2x16float(select(v, vec2(0.0), large)) | infinite.x | (infinite.y << 16u);
}
fn rounded_bf16(v: vec2<f32>) -> u32 {
  let bits = bitcast<vec2<u32>>(v);
  let rounded = bits + vec2(0x7fffu) + ((bits >> vec2(16u)) & vec2(1u));
  let upper = select(rounded, bits, (bits & vec2(0x7fffffffu)) > vec2(0x7f800000u)) >> vec2(16u);
  return upper.x | (upper.y << 16u);
}
fn widened_bf16(word: u32) -> vec2<f32> { return bitcast<vec2<f32>>(vec2(word << 16u, word & 0xffff0000u)); }
