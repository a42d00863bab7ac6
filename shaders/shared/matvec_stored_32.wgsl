// Numbers as they are.
alias Stored = f32;
const IN_WORD: u32 = 1u;
fn number(word: f32, i: u32) -> f32 { return word; }
