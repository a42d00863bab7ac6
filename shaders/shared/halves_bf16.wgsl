// 16 bits: bfloat16, the upper half of an f32, to the nearest and of two as near to the even one.
fn packed(values: vec4<f32>) -> vec2<u32> {
  let bits = bitcast<vec4<u32>>(values);
  let upper = (bits + vec4(0x7fffu) + ((bits >> vec4(16u)) & vec4(1u))) >> vec4(16u);
  return vec2(upper.x | (upper.y << 16u), upper.z | (upper.w << 16u));
}
fn unpacked(words: vec2<u32>) -> vec4<f32> {
  return bitcast<vec4<f32>>(vec4(words.x << 16u, words.x & 0xffff0000u, words.y << 16u, words.y & 0xffff0000u));
}
