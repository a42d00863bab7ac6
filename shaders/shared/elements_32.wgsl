// Elements of 32 bits, one to a word.
const PER_WORD: u32 = 1u;
fn element(i: u32) -> u32 { return x[i]; }
