// As shared/row.wgsl, for rows of many thousand elements.
const LANES: u32 = 256u;
var<workgroup> lane_sum: array<f32, LANES>;

// Sum over the workgroup, in lane order, the same in every lane. Every lane must call it.
fn row_sum(value: f32, t: u32) -> f32 {
  workgroupBarrier();
  lane_sum[t] = value;
  workgroupBarrier();
  var total = 0.0;
  for (var i = 0u; i < LANES; i++) { total += lane_sum[i]; }
  return total;
}
