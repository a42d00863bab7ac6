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
// Stands for -infinity, which WGSL need not honour.
const LOWEST: f32 = -3.0e38;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let head = wg.x;
  if head >= params.heads { return; }
  var peak = LOWEST;
  for (var s = 0u; s < params.shares; s++) { peak = max(peak, lse[s * params.heads + head]); }
  for (var d = t; d < params.head_dim; d += LANES) {
    var sum = 0.0;
    var total = 0.0;
    for (var s = 0u; s < params.shares; s++) {
      let at = s * params.heads + head;
      if lse[at] <= LOWEST { continue; }
      let weight = exp(lse[at] - peak);
      total += weight;
      sum = fma(weight, parts[at * params.head_dim + d], sum);
    }
    y[head * params.head_dim + d] = sum / total;
  }
}
