// y = softmax(scale·q·kᵀ)·v for one row, whose own key and value are put into the cache on the way: q and k are normed
// (head by head, as in head_norm.wgsl), turned (as in rope.wgsl), and then attended as in attention.wgsl
// Shapes    kv_range [2]: first key row and one past the last, which is the row's own; qkv [(heads + 2·kv_heads)·head_dim]:
//           queries, keys, values; angles [rotary]: cosines, then sines, of the row's position; q_norm, k_norm
//           [head_dim]; kv [count, 2·kv_heads·head_dim], the cache's rows from `first` on; y [any, heads·head_dim] and
//           lse [any, heads], a row for each share of the keys.
// Dispatch  one workgroup of 64 per head and share of SHARE rows of kv, over x and y.
// Numerics  f32; 64 keys at a time, the row's own last.
// Output    y =, lse = log Σ exp(scores), of the share alone, in row share_first and those after it; lse = LOWEST and no
//           y if there is no key in the share; kv =, in the row's own
struct Params {
  heads: u32, kv_heads: u32, head_dim: u32, rotary: u32, scale: f32,
  head_norm: u32, eps: f32,
  first: u32, count: u32, share_first: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> kv_range: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> qkv: array<f32>;
@group(0) @binding(3) var<storage, read> angles: array<f32>;
@group(0) @binding(4) var<storage, read> q_norm: array<f32>;
@group(0) @binding(5) var<storage, read> k_norm: array<f32>;
@group(0) @binding(6) var<storage, read_write> kv: array<Part>;
@group(0) @binding(7) var<storage, read_write> y: array<Part>;
@group(0) @binding(8) var<storage, read_write> lse: array<f32>;

const SHARE: u32 = 64u;
const PER_LANE: u32 = MAX_WIDTH / LANES;
// Stands for -infinity, which WGSL need not honour.
const LOWEST: f32 = -3.0e38;

// Loads that are under way together: one after the other they would take as long each.
const AHEAD: u32 = 8u;

// The query's product with the key at this place.
fn dot_of_key(at: u32, width: u32) -> f32 {
  var sum = 0.0;
  var p = 0u;
  for (; p + AHEAD <= width; p += AHEAD) {
    for (var i = 0u; i < AHEAD; i++) { sum += inner(query[p + i], kv[at + p + i]); }
  }
  for (; p < width; p++) { sum += inner(query[p], kv[at + p]); }
  return sum;
}

var<workgroup> scores: array<f32, LANES>;
var<workgroup> pool: array<Part, LANES>;

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let item = wg.y * grid.x + wg.x;
  let low = params.first + item / params.heads * SHARE;
  let high = min(low + SHARE, params.first + params.count);
  if low >= high { return; }
  let head = item % params.heads;
  let group = params.heads / params.kv_heads;
  let kv_head = head / group;
  let width = params.head_dim / WIDE;
  let own = kv_range[0].y - 1u;
  let is_own = own >= low && own < high;
  let start = max(kv_range[0].x, low);
  let end = min(own, high);
  let result = params.share_first + item / params.heads;
  if start >= end && !is_own {
    if t == 0u { lse[result * params.heads + head] = LOWEST; }
    return;
  }
  prepare(head, kv_head, t);
  let v_at = (params.heads + params.kv_heads + kv_head) * width;
  if is_own && head % group == 0u {
    let at = ((own - params.first) * 2u * params.kv_heads + kv_head) * width;
    for (var p = t; p < width; p += LANES) {
      kv[at + p] = key[p];
      kv[at + params.kv_heads * width + p] = qkv_part(v_at + p);
    }
  }
  // Lanes of a key's value; where a value has fewer parts than there are lanes, some values at once.
  let at_once = max(LANES / width, 1u);
  let which = t / min(width, LANES);
  let own_part = t % min(width, LANES);
  var out: array<Part, PER_LANE>;
  var peak = LOWEST;
  var total = 0.0;
  for (var block = start; block < end; block += LANES) {
    let count = min(LANES, end - block);
    let at = ((block - params.first) * 2u * params.kv_heads + kv_head) * width;
    let step = 2u * params.kv_heads * width;
    workgroupBarrier();
    var score = LOWEST;
    if t < count { score = dot_of_key(at + t * step, width) * params.scale; }
    scores[t] = score;
    workgroupBarrier();
    var highest = peak;
    for (var j = 0u; j < LANES; j++) { highest = max(highest, scores[j]); }
    workgroupBarrier();
    scores[t] = select(0.0, exp(score - highest), t < count);
    workgroupBarrier();
    let correction = exp(peak - highest);
    peak = highest;
    total *= correction;
    for (var j = 0u; j < LANES; j++) { total += scores[j]; }
    let values = at + params.kv_heads * width;
    for (var c = 0u; c < PER_LANE; c++) {
      let p = own_part + c * LANES;
      if which >= at_once || p >= width { break; }
      var sum = out[c] * correction;
      for (var first = which; first < count; first += AHEAD * at_once) {
        for (var i = 0u; i < AHEAD; i++) {
          let j = first + i * at_once;
          let value = kv[values + min(j, count - 1u) * step + p];
          sum += select(0.0, scores[min(j, LANES - 1u)], j < count) * value;
        }
      }
      out[c] = sum;
    }
  }
  if is_own {
    var score = 0.0;
    for (var p = 0u; p < width; p++) { score += inner(query[p], key[p]); }
    score *= params.scale;
    let highest = max(peak, score);
    let correction = exp(peak - highest);
    let weight = exp(score - highest);
    peak = highest;
    total = total * correction + weight;
    for (var c = 0u; c < PER_LANE; c++) {
      let p = own_part + c * LANES;
      if p >= width { break; }
      out[c] *= correction;
      if which == 0u { out[c] += weight * qkv_part(v_at + p); }
    }
  }
  pool[t] = out[0];
  workgroupBarrier();
  if which == 0u {
    for (var other = 1u; other < at_once; other++) { out[0] += pool[other * width + own_part]; }
    for (var c = 0u; c < PER_LANE; c++) {
      let p = own_part + c * LANES;
      if p < width { y[(result * params.heads + head) * width + p] = out[c] / total; }
    }
  }
  if t == 0u { lse[result * params.heads + head] = peak + log(total); }
}
