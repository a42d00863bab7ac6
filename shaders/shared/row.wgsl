// One workgroup of LANES per row, rows spread over x and y of the grid (each may have 65,535 at most).
const LANES: u32 = 64u;
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
