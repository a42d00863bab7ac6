// Attention kernels: one workgroup of LANES per row and head; a lane holds PER_LANE of a head's columns.
const LANES: u32 = 64u;
const MAX_HEAD_DIM: u32 = 256u;
const PER_LANE: u32 = MAX_HEAD_DIM / LANES;
// Stands for -infinity, which WGSL need not honour.
const LOWEST: f32 = -3.0e38;
