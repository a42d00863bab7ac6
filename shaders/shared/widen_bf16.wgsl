// Two bfloat16 of a word, low half first, widened exactly: each is the upper half of an f32.
fn widen(word: u32) -> vec2<f32> { return bitcast<vec2<f32>>(vec2(word << 16u, word & 0xffff0000u)); }
