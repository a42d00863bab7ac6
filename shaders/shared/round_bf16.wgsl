// Two numbers in a word, low half first, as bfloat16: to the nearest, and of two as near to the even one.
fn rounded(v: vec2<f32>) -> u32 {
  let bits = bitcast<vec2<u32>>(v);
  let upper = (bits + vec2(0x7fffu) + ((bits >> vec2(16u)) & vec2(1u))) >> vec2(16u);
  return upper.x | (upper.y << 16u);
}
