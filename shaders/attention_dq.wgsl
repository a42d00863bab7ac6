// dq = scale · Σ_j p_j·(dy·v_j − delta)·k_j, with p_j = exp(scale·q·k_j − lse) computed again
// Shapes    as in attention.wgsl; dy, dq [rows, heads·head_dim]; lse, delta [rows, heads].
// Dispatch  one workgroup of 64 per (row, head), spread over x and y.
// Numerics  f32, keys in rising order.
// Output    dq =, or += with `accumulate` (parts of kv after the first)
struct Params {
  rows: u32, heads: u32, kv_heads: u32, head_dim: u32, scale: f32,
  first: u32, count: u32, accumulate: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> kv_range: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> q: array<f32>;
@group(0) @binding(3) var<storage, read> kv: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read> lse: array<f32>;
@group(0) @binding(6) var<storage, read> delta: array<f32>;
@group(0) @binding(7) var<storage, read_write> dq: array<f32>;

var<workgroup> query: array<f32, MAX_HEAD_DIM>;
var<workgroup> d_out: array<f32, MAX_HEAD_DIM>;
var<workgroup> d_scores: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let item = wg.y * grid.x + wg.x;
  if item >= params.rows * params.heads { return; }
  let dim = params.head_dim;
  let kv_width = params.kv_heads * dim;
  let k_at = item % params.heads / (params.heads / params.kv_heads) * dim;
  let v_at = k_at + kv_width;
  let range = clamp(kv_range[item / params.heads], vec2(params.first), vec2(params.first + params.count))
    - params.first;
  if params.accumulate != 0u && range.x >= range.y { return; }
  for (var d = t; d < dim; d += LANES) {
    query[d] = q[item * dim + d];
    d_out[d] = dy[item * dim + d];
  }
  var sums: array<f32, PER_LANE>;
  if params.accumulate != 0u {
    for (var c = 0u; c < PER_LANE; c++) {
      let d = t + c * LANES;
      if d < dim { sums[c] = dq[item * dim + d]; }
    }
  }
  for (var first = range.x; first < range.y; first += LANES) {
    let count = min(LANES, range.y - first);
    workgroupBarrier();
    if t < count {
      let at = (first + t) * 2u * kv_width;
      var score = 0.0;
      var dp = 0.0;
      for (var d = 0u; d < dim; d++) {
        score = fma(query[d], kv[at + k_at + d], score);
        dp = fma(d_out[d], kv[at + v_at + d], dp);
      }
      d_scores[t] = exp(score * params.scale - lse[item]) * (dp - delta[item]) * params.scale;
    }
    workgroupBarrier();
    for (var c = 0u; c < PER_LANE; c++) {
      let d = t + c * LANES;
      if d >= dim { break; }
      var sum = sums[c];
      for (var j = 0u; j < count; j++) { sum = fma(d_scores[j], kv[(first + j) * 2u * kv_width + k_at + d], sum); }
      sums[c] = sum;
    }
  }
  for (var c = 0u; c < PER_LANE; c++) {
    let d = t + c * LANES;
    if d < dim { dq[item * dim + d] = sums[c]; }
  }
}
