// Pairs of IEEE halves in a word, low half first, widened exactly.
alias Stored = u32;
const IN_WORD: u32 = 2u;
fn widen(word: u32) -> vec2<f32> { return unpack2x16float(word); }
fn number(word: u32, i: u32) -> f32 { return widen(word)[i]; }
