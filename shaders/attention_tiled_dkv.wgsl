// dv = Σ_i p_i·dy_i, dk = scale · Σ_i p_i·(dy_i·v − delta_i)·q_i as in attention_dkv.wgsl, for a tile of key rows and one
// of the query heads that share them (attention_dkv_sum.wgsl adds those up)
// Shapes    as in attention_dkv.wgsl; dk, dv [rows, heads·head_dim]; head_dim is a multiple of 4.
// Dispatch  one workgroup of THREADS per head and BM rows, over x and y.
// Numerics  f32, queries in rising order.
// Output    dk =, dv =, or += with `accumulate` (parts of q after the first)
struct Params {
  rows: u32, heads: u32, kv_heads: u32, head_dim: u32, scale: f32,
  first: u32, count: u32, accumulate: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> query_range: array<vec2<u32>>;
@group(0) @binding(5) var<storage, read> lse: array<f32>;
@group(0) @binding(6) var<storage, read> delta: array<f32>;
@group(0) @binding(7) var<storage, read_write> dk: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> dv: array<vec4<f32>>;

const KEY: u32 = 0u;
const VALUE: u32 = 1u;
var<private> head: u32;

fn own_at(which: u32, row: u32, c: u32) -> vec4<f32> {
  if row >= params.rows || c * 4u >= params.head_dim { return vec4<f32>(); }
  return kv_at(kv_of(which, row) * (params.head_dim / 4u) + c);
}

// q beside keys, dy beside values.
fn other_at(which: u32, row: u32, c: u32) -> vec4<f32> {
  if !is_held(row) || c * 4u >= params.head_dim { return vec4<f32>(); }
  let at = (row * params.heads + head) * (params.head_dim / 4u) + c;
  if which == KEY { return q_at(at); }
  return dy_at(at);
}

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let tiles = (params.rows + BM - 1u) / BM;
  let index = wg.y * grid.x + wg.x;
  if index >= tiles * params.heads { return; }
  head = index % params.heads;
  kv_head = head / group();
  // The first rows of a document have the most queries: they begin first.
  let own = index / params.heads * BM;
  var queries = EMPTY;
  for (var row = own; row < min(own + BM, params.rows); row++) {
    queries = around(queries, in_part(query_range[row]));
  }
  if params.accumulate != 0u && queries.x >= queries.y { return; }
  held = queries;

  let mine = own + t / COLUMNS * TM;
  let column = t % COLUMNS;
  let width = params.head_dim / 4u;
  var starts: array<vec4<u32>, TV>;
  var ends: array<vec4<u32>, TV>;
  var dk_sums: Sums;
  var dv_sums: Sums;
  for (var m = 0u; m < TV; m++) {
    for (var r = 0u; r < 4u; r++) {
      let row = mine + m * 4u + r;
      if row >= params.rows { continue; }
      let range = in_part(query_range[row]);
      starts[m][r] = range.x;
      ends[m][r] = range.y;
      if params.accumulate == 0u { continue; }
      for (var part = 0u; part < TD; part++) {
        let c = part * COLUMNS + column;
        if c >= width { continue; }
        dk_sums[(m * 4u + r) * TD + part] = dk[(row * params.heads + head) * width + c];
        dv_sums[(m * 4u + r) * TD + part] = dv[(row * params.heads + head) * width + c];
      }
    }
  }
  for (var first = queries.x / BN * BN; first < queries.y; first += BN) {
    var weights = dots(KEY, own, first, t);
    var d_weights = dots(VALUE, own, first, t);
    for (var j = 0u; j < 4u; j++) {
      let query = first + j * COLUMNS + column;
      // Outside nothing counts.
      let side = within_held(query) * params.heads + head;
      for (var m = 0u; m < TV; m++) {
        let at = j * TV + m;
        let inside = (vec4(query) >= starts[m]) & (vec4(query) < ends[m]);
        let weight = select(vec4<f32>(), exp(weights[at] * params.scale - lse[side]), inside);
        weights[at] = weight;
        d_weights[at] = weight * (d_weights[at] - delta[side]) * params.scale;
      }
    }
    add_product(&dv_sums, &weights, VALUE, first, t);
    add_product(&dk_sums, &d_weights, KEY, first, t);
  }
  for (var i = 0u; i < TM * TD; i++) {
    let row = mine + i / TD;
    let c = i % TD * COLUMNS + column;
    if row >= params.rows || c >= width { continue; }
    dk[(row * params.heads + head) * width + c] = dk_sums[i];
    dv[(row * params.heads + head) * width + c] = dv_sums[i];
  }
}
