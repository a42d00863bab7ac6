// Elements of 16 bits, two to a word, low half first.
const PER_WORD: u32 = 2u;
fn element(i: u32) -> u32 { return (x[i >> 1u] >> (16u * (i & 1u))) & 0xffffu; }
