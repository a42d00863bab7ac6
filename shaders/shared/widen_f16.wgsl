// Two IEEE halves of a word, low half first, widened exactly.
fn widen(word: u32) -> vec2<f32> { return unpack2x16float(word); }
