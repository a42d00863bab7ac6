// Output tile of one workgroup: BM × BN, with K in steps of BK and 4 × 4 outputs a thread.
const BM: u32 = 16u;
const BN: u32 = 64u;
const BK: u32 = 16u;
