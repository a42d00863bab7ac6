// matvec.wgsl: invocations of a workgroup.
const LANES: u32 = 256u;
