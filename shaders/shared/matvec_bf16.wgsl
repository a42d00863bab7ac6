// Pairs of bfloat16 in a word, low half first, widened exactly.
alias Stored = u32;
const IN_WORD: u32 = 2u;
fn widen(word: u32) -> vec2<f32> { return vec2(bitcast<f32>(word << 16u), bitcast<f32>(word & 0xffff0000u)); }
fn number(word: u32, i: u32) -> f32 { return widen(word)[i]; }
