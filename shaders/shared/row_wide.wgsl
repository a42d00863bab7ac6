// As shared/row.wgsl, for rows of many thousand elements.
const LANES: u32 = 256u;
var<workgroup> lane_sum: array<f32, LANES>;

// Sum over the workgroup, the same in every lane and in every run: the halves are added to each other until one is left.
// Every lane must call it.
fn row_sum(value: f32, t: u32) -> f32 {
  workgroupBarrier();
  lane_sum[t] = value;
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if t < half { lane_sum[t] += lane_sum[t + half]; }
  }
  workgroupBarrier();
  return lane_sum[0];
}
