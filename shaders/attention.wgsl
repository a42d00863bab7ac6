// y = softmax(scale·q·kᵀ)·v for one query row and head, keys in blocks with a running maximum
// (Dao et al., FlashAttention, arXiv:2205.14135; grouped queries: Ainslie et al., arXiv:2305.13245).
// Shapes    kv_range [rows, 2]: first key row and one past the last that the row attends; q, y
//           [rows, heads·head_dim]; kv [count, 2·kv_heads·head_dim]: keys, then values, of the key rows from
//           `first` on; lse [rows, heads].
// Dispatch  one workgroup of 64 per (row, head), spread over x and y.
// Numerics  f32; 64 keys at a time, so no rows × rows matrix exists.
// Output    y =, lse = log Σ exp(scores), for the backward pass; with `accumulate` y and lse go on from what the
//           parts of kv before this one gave
struct Params {
  rows: u32, heads: u32, kv_heads: u32, head_dim: u32, scale: f32,
  first: u32, count: u32, accumulate: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> kv_range: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> q: array<f32>;
@group(0) @binding(3) var<storage, read> kv: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;

var<workgroup> query: array<f32, MAX_HEAD_DIM>;
var<workgroup> scores: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let item = wg.y * grid.x + wg.x;
  if item >= params.rows * params.heads { return; }
  let dim = params.head_dim;
  let head = item % params.heads;
  let kv_width = params.kv_heads * dim;
  let k_at = head / (params.heads / params.kv_heads) * dim;
  let v_at = k_at + kv_width;
  let range = clamp(kv_range[item / params.heads], vec2(params.first), vec2(params.first + params.count))
    - params.first;
  if params.accumulate != 0u && range.x >= range.y { return; }
  for (var d = t; d < dim; d += LANES) { query[d] = q[item * dim + d]; }
  var out: array<f32, PER_LANE>;
  var peak = LOWEST;
  var total = 0.0;
  if params.accumulate != 0u {
    // Normalised by exp(lse): a running sum of 1 under a maximum of lse.
    peak = lse[item];
    total = 1.0;
    for (var c = 0u; c < PER_LANE; c++) {
      let d = t + c * LANES;
      if d < dim { out[c] = y[item * dim + d]; }
    }
    storageBarrier();
  } else if range.x >= range.y {
    // No key in this part: 0 with no weight, for those to come to go on from.
    total = 1.0;
  }
  for (var first = range.x; first < range.y; first += LANES) {
    let count = min(LANES, range.y - first);
    workgroupBarrier();
    if t < count {
      let at = (first + t) * 2u * kv_width + k_at;
      var dot = 0.0;
      for (var d = 0u; d < dim; d++) { dot = fma(query[d], kv[at + d], dot); }
      scores[t] = dot * params.scale;
    }
    workgroupBarrier();
    var highest = peak;
    for (var j = 0u; j < count; j++) { highest = max(highest, scores[j]); }
    let correction = exp(peak - highest);
    peak = highest;
    total *= correction;
    workgroupBarrier();
    if t < count { scores[t] = exp(scores[t] - peak); }
    workgroupBarrier();
    for (var j = 0u; j < count; j++) { total += scores[j]; }
    for (var c = 0u; c < PER_LANE; c++) {
      let d = t + c * LANES;
      if d >= dim { break; }
      var sum = out[c] * correction;
      for (var j = 0u; j < count; j++) { sum = fma(scores[j], kv[(first + j) * 2u * kv_width + v_at + d], sum); }
      out[c] = sum;
    }
  }
  for (var c = 0u; c < PER_LANE; c++) {
    let d = t + c * LANES;
    if d < dim { y[item * dim + d] = out[c] / total; }
  }
  if t == 0u { lse[item] = peak + log(total); }
}
