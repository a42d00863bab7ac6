// Output tile of one workgroup: BM × BN, with K in steps of BK and TM × 4 outputs a thread.
const BM: u32 = 64u;
const BN: u32 = 16u;
const BK: u32 = 16u;
const TM: u32 = 4u;
