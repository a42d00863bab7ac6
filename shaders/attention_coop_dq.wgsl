// dq = scale · Σ_j p_j·(dy·v_j − delta)·k_j: attention_tiled_dq.wgsl with cooperative matrices
// Shapes    as in attention_dq.wgsl; head_dim is a multiple of 16, at most 64·CHUNKS.
// Dispatch  one workgroup of THREADS per key head and BM of its items (see attention_items.wgsl), over x and y.
// Numerics  q, k, v, dy and p·(dy·v − delta) are rounded to f16; sums in f32, keys in rising order.
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
// The items' places in q.
var<workgroup> own_heads: array<u32, BM>;
var<private> tile_first: u32;

// q beside keys, dy beside values.
fn own_at(which: u32, row: u32, c: u32) -> Cell {
  if c * 4u >= params.head_dim { return Cell(); }
  let at = own_heads[row] * (params.head_dim / 4u) + c;
  if which == KEY { return q_cell(at); }
  return dy_cell(at);
}

fn other_at(which: u32, row: u32, c: u32) -> Cell {
  if c * 4u >= params.head_dim { return Cell(); }
  return kv_cell(kv_of(which, within_held(tile_first + row)) * (params.head_dim / 4u) + c);
}

// Adds sums to a chunk of dq.
fn write(sums: ptr<function, Strip>, chunk: u32, rows: u32, t: u32) {
  workgroupBarrier();
  show(sums, t);
  workgroupBarrier();
  for (var i = 0u; i < CELLS; i++) {
    let c = chunk * WIDTH + column_of(i, t);
    if row_of(t) < rows && c * 4u < params.head_dim {
      let at = own_heads[row_of(t)] * (params.head_dim / 4u) + c;
      var sum = shown(i, t) * params.scale;
      if params.accumulate != 0u { sum += dq[at]; }
      dq[at] = sum;
    }
  }
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
  // Behind the last item there are copies of it, which are not written.
  if t < BM { own_heads[t] = head_of(min(own + t, items - 1u)); }
  workgroupBarrier();

  let range = in_part(kv_range[min(own + row_of(t), items - 1u) / group()]);
  let side = lse[own_heads[row_of(t)]];
  let own_delta = delta[own_heads[row_of(t)]];
  var sums_0: Strip;
  var sums_1: Strip;
  var ahead: Cells;
  tile_first = keys.x / BN * BN;
  if keys.x < keys.y { ahead = fetch_other(KEY, 0u, t); }
  for (var first = keys.x / BN * BN; first < keys.y; first += BN) {
    show_dots(KEY, false, &ahead, VALUE, t);
    var weights: Scores;
    for (var i = 0u; i < CELLS; i++) {
      let weight = exp(shown(i, t) * params.scale - side);
      weights[i] = select(vec4<f32>(), weight, inside(first, i, range, t));
    }
    show_dots(VALUE, false, &ahead, KEY, t);
    for (var i = 0u; i < CELLS; i++) {
      own_tile[cell(i, t)] = narrow(weights[i] * (shown(i, t) - own_delta));
    }
    put_other(&ahead, t);
    workgroupBarrier();
    if CHUNKS > 1u {
      ahead = fetch_other(KEY, 1u, t);
      add_products(&sums_0, t);
      workgroupBarrier();
      put_other(&ahead, t);
      workgroupBarrier();
    }
    tile_first = first + BN;
    ahead = fetch_other(KEY, 0u, t);
    if CHUNKS > 1u { add_products(&sums_1, t); } else { add_products(&sums_0, t); }
    workgroupBarrier();
  }
  write(&sums_0, 0u, items - own, t);
  if CHUNKS > 1u { write(&sums_1, 1u, items - own, t); }
}
