// y = Σ_s exp(lse_s − lse)·y_s, lse = log Σ_s exp(lse_s): attention over all keys from that over shares of them
// (Dao et al., "Flash-Decoding", 2023)
// Shapes    parts [shares, heads·head_dim], lse [shares, heads], y [heads·head_dim].
// Dispatch  one workgroup of 64 per head.
// Numerics  f32, shares in their order; those without a key count nothing, and what y_s they have is not read.
// Output    y =
struct Params { heads: u32, head_dim: u32, shares: u32, }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> parts: array<f32>;
@group(0) @binding(2) var<storage, read> lse: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

const LANES: u32 = 64u;
const MAX_HEAD_DIM: u32 = 256u;
const PER_LANE: u32 = MAX_HEAD_DIM / LANES;
// Stands for -infinity, which WGSL need not honour.
const LOWEST: f32 = -3.0e38;
// Loads that are under way together.
const AHEAD: u32 = 8u;

var<workgroup> weights: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let head = wg.x;
  if head >= params.heads { return; }
  var own = LOWEST;
  for (var s = t; s < params.shares; s += LANES) { own = max(own, lse[s * params.heads + head]); }
  weights[t] = own;
  workgroupBarrier();
  var peak = LOWEST;
  for (var i = 0u; i < LANES; i++) { peak = max(peak, weights[i]); }
  var sums: array<f32, PER_LANE>;
  var total = 0.0;
  for (var first = 0u; first < params.shares; first += LANES) {
    let count = min(LANES, params.shares - first);
    workgroupBarrier();
    var weight = 0.0;
    if t < count {
      let of_share = lse[(first + t) * params.heads + head];
      if of_share > LOWEST { weight = exp(of_share - peak); }
    }
    weights[t] = weight;
    workgroupBarrier();
    for (var s = 0u; s < count; s++) { total += weights[s]; }
    for (var c = 0u; c < PER_LANE; c++) {
      let d = t + c * LANES;
      if d >= params.head_dim { break; }
      for (var s = 0u; s < count; s += AHEAD) {
        for (var i = 0u; i < AHEAD; i++) {
          let within = min(s + i, count - 1u);
          let weight = select(0.0, weights[within], s + i < count);
          let part = parts[((first + within) * params.heads + head) * params.head_dim + d];
          // What a share without a key has left there may be no number.
          sums[c] = fma(weight, select(0.0, part, weight > 0.0), sums[c]);
        }
      }
    }
  }
  for (var c = 0u; c < PER_LANE; c++) {
    let d = t + c * LANES;
    if d < params.head_dim { y[head * params.head_dim + d] = sums[c] / total; }
  }
}
