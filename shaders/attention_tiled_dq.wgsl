// dq = scale · Σ_j p_j·(dy·v_j − delta)·k_j as in attention_dq.wgsl, for a tile of rows and the heads that share a key
// head
// Shapes    as in attention_dq.wgsl; head_dim is a multiple of 4.
// Dispatch  one workgroup of THREADS per key head and BM of its items (see attention_items.wgsl), over x and y.
// Numerics  f32, keys in rising order.
// Output    dq =, or += with `accumulate` (parts of kv after the first)
struct Params {
  rows: u32, heads: u32, kv_heads: u32, head_dim: u32, scale: f32,
  first: u32, count: u32, accumulate: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> kv_range: array<vec2<u32>>;
@group(0) @binding(5) var<storage, read> lse: array<f32>;
@group(0) @binding(6) var<storage, read> delta: array<f32>;
@group(0) @binding(7) var<storage, read_write> dq: array<vec4<f32>>;

const KEY: u32 = 0u;
const VALUE: u32 = 1u;

// q beside keys, dy beside values.
fn own_at(which: u32, item: u32, c: u32) -> vec4<f32> {
  if item >= params.rows * group() || c * 4u >= params.head_dim { return vec4<f32>(); }
  let at = head_of(item) * (params.head_dim / 4u) + c;
  if which == KEY { return q_at(at); }
  return dy_at(at);
}

fn other_at(which: u32, row: u32, c: u32) -> vec4<f32> {
  if !is_held(row) || c * 4u >= params.head_dim { return vec4<f32>(); }
  return kv_at(kv_of(which, row) * (params.head_dim / 4u) + c);
}

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let items = params.rows * group();
  let tiles = (items + BM - 1u) / BM;
  let index = wg.y * grid.x + wg.x;
  if index >= tiles * params.kv_heads { return; }
  kv_head = index % params.kv_heads;
  // The last rows of a document have the most keys: they begin first.
  let own = (tiles - 1u - index / params.kv_heads) * BM;
  var keys = EMPTY;
  for (var row = own / group(); row < min((own + BM - 1u) / group() + 1u, params.rows); row++) {
    keys = around(keys, in_part(kv_range[row]));
  }
  if params.accumulate != 0u && keys.x >= keys.y { return; }
  held = keys;

  let mine = own + t / COLUMNS * TM;
  let column = t % COLUMNS;
  let width = params.head_dim / 4u;
  var starts: array<vec4<u32>, TV>;
  var ends: array<vec4<u32>, TV>;
  var sides: array<vec4<f32>, TV>;
  var deltas: array<vec4<f32>, TV>;
  var sums: Sums;
  for (var m = 0u; m < TV; m++) {
    for (var r = 0u; r < 4u; r++) {
      let item = mine + m * 4u + r;
      if item >= items { continue; }
      let range = in_part(kv_range[item / group()]);
      starts[m][r] = range.x;
      ends[m][r] = range.y;
      let at = head_of(item);
      sides[m][r] = lse[at];
      deltas[m][r] = delta[at];
      if params.accumulate == 0u { continue; }
      for (var part = 0u; part < TD; part++) {
        let c = part * COLUMNS + column;
        if c < width { sums[(m * 4u + r) * TD + part] = dq[at * width + c]; }
      }
    }
  }
  for (var first = keys.x / BN * BN; first < keys.y; first += BN) {
    var scores = dots(KEY, own, first, t);
    var d_weights = dots(VALUE, own, first, t);
    for (var j = 0u; j < 4u; j++) {
      let key = vec4(first + j * COLUMNS + column);
      for (var m = 0u; m < TV; m++) {
        let at = j * TV + m;
        let inside = (key >= starts[m]) & (key < ends[m]);
        let weight = exp(scores[at] * params.scale - sides[m]);
        scores[at] = select(vec4<f32>(), weight * (d_weights[at] - deltas[m]) * params.scale, inside);
      }
    }
    add_product(&sums, &scores, KEY, first, t);
  }
  for (var i = 0u; i < TM * TD; i++) {
    let item = mine + i / TD;
    let c = i % TD * COLUMNS + column;
    if item < items && c < width { dq[head_of(item) * width + c] = sums[i]; }
  }
}
