// Numbers of 16 bits, two to a word. Needs `widen`.
alias Stored = u32;
const IN_WORD: u32 = 2u;
fn number(word: u32, i: u32) -> f32 { return widen(word)[i]; }
