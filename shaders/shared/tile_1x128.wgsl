// Output tile of one workgroup: BM × BN, with K in steps of BK and TM × 4 outputs a thread.
const BM: u32 = 1u;
const BN: u32 = 128u;
const BK: u32 = 16u;
const TM: u32 = 1u;
