// dv = Σ_i p_i·dy_i, dk = scale · Σ_i p_i·(dy_i·v − delta_i)·q_i over the queries i, of every head of
// the group, that attend the key; p_i = exp(scale·q_i·k − lse_i) computed again
// Shapes    query_range [rows, 2]: first query row and one past the last that attends the row; kv, dkv [rows, …]
//           and q, dy [count, …] as in attention.wgsl; lse, delta [count, heads]; `first` and `count` say which
//           query rows they are.
// Dispatch  one workgroup of 64 per (row, kv head), spread over x and y.
// Numerics  f32, heads and then queries in rising order.
// Output    dkv =, or += with `accumulate` (parts of q after the first)
struct Params {
  rows: u32, heads: u32, kv_heads: u32, head_dim: u32, scale: f32,
  first: u32, count: u32, accumulate: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> query_range: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> q: array<f32>;
@group(0) @binding(3) var<storage, read> kv: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read> lse: array<f32>;
@group(0) @binding(6) var<storage, read> delta: array<f32>;
@group(0) @binding(7) var<storage, read_write> dkv: array<f32>;

var<workgroup> key: array<f32, MAX_HEAD_DIM>;
var<workgroup> value: array<f32, MAX_HEAD_DIM>;
var<workgroup> p: array<f32, LANES>;
var<workgroup> d_scores: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let item = wg.y * grid.x + wg.x;
  if item >= params.rows * params.kv_heads { return; }
  let dim = params.head_dim;
  let group = params.heads / params.kv_heads;
  let row = item / params.kv_heads;
  let kv_head = item % params.kv_heads;
  let k_at = row * 2u * params.kv_heads * dim + kv_head * dim;
  let v_at = k_at + params.kv_heads * dim;
  let range = clamp(query_range[row], vec2(params.first), vec2(params.first + params.count)) - params.first;
  if params.accumulate != 0u && range.x >= range.y { return; }
  for (var d = t; d < dim; d += LANES) {
    key[d] = kv[k_at + d];
    value[d] = kv[v_at + d];
  }
  var dk: array<f32, PER_LANE>;
  var dv: array<f32, PER_LANE>;
  if params.accumulate != 0u {
    for (var c = 0u; c < PER_LANE; c++) {
      let d = t + c * LANES;
      if d < dim {
        dk[c] = dkv[k_at + d];
        dv[c] = dkv[v_at + d];
      }
    }
  }
  for (var head = kv_head * group; head < (kv_head + 1u) * group; head++) {
    for (var first = range.x; first < range.y; first += LANES) {
      let count = min(LANES, range.y - first);
      workgroupBarrier();
      if t < count {
        let query = (first + t) * params.heads + head;
        var score = 0.0;
        var dp = 0.0;
        for (var d = 0u; d < dim; d++) {
          score = fma(q[query * dim + d], key[d], score);
          dp = fma(dy[query * dim + d], value[d], dp);
        }
        p[t] = exp(score * params.scale - lse[query]);
        d_scores[t] = p[t] * (dp - delta[query]) * params.scale;
      }
      workgroupBarrier();
      for (var c = 0u; c < PER_LANE; c++) {
        let d = t + c * LANES;
        if d >= dim { break; }
        for (var j = 0u; j < count; j++) {
          let at = ((first + j) * params.heads + head) * dim + d;
          dk[c] = fma(d_scores[j], q[at], dk[c]);
          dv[c] = fma(p[j], dy[at], dv[c]);
        }
      }
    }
  }
  for (var c = 0u; c < PER_LANE; c++) {
    let d = t + c * LANES;
    if d < dim {
      dkv[k_at + d] = dk[c];
      dkv[v_at + d] = dv[c];
    }
  }
}
