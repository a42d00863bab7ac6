// Chunks of 64 columns of a head in the cooperative attention kernels: heads of up to 64 columns.
const CHUNKS: u32 = 1u;
