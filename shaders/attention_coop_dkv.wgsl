// dv = Σ_i p_i·dy_i, dk = scale · Σ_i p_i·(dy_i·v − delta_i)·q_i: attention_tiled_dkv.wgsl with cooperative
// matrices
// Shapes    as in attention_dkv.wgsl; dk, dv [rows, heads·head_dim]; head_dim is a multiple of 16, at most 64·CHUNKS.
// Dispatch  one workgroup of THREADS per head and BM rows, over x and y.
// Numerics  q, k, v, dy, p and p·(dy·v − delta) are rounded to f16; sums in f32, queries in rising order.
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
// lse of the tile's queries, then delta.
var<workgroup> sides: array<f32, 2u * BN>;
var<private> head: u32;
var<private> own_first: u32;
var<private> tile_first: u32;

// Behind the last row there are copies of it, which are not written.
fn own_at(which: u32, row: u32, c: u32) -> Cell {
  if c * 4u >= params.head_dim { return Cell(); }
  return kv_cell(kv_of(which, min(own_first + row, params.rows - 1u)) * (params.head_dim / 4u) + c);
}

// q beside keys, dy beside values.
fn other_at(which: u32, row: u32, c: u32) -> Cell {
  if c * 4u >= params.head_dim { return Cell(); }
  let at = (within_held(tile_first + row) * params.heads + head) * (params.head_dim / 4u) + c;
  if which == KEY { return q_cell(at); }
  return dy_cell(at);
}

fn sides_of(i: u32, t: u32) -> vec4<f32> {
  let at = column_of(i, t) * 4u;
  return vec4(sides[at], sides[at + 1u], sides[at + 2u], sides[at + 3u]);
}

fn deltas_of(i: u32, t: u32) -> vec4<f32> {
  let at = BN + column_of(i, t) * 4u;
  return vec4(sides[at], sides[at + 1u], sides[at + 2u], sides[at + 3u]);
}

// sums += weights · others, both chunks, with barriers behind. `ahead` has the first chunk of the others, and then that
// of `next` in the tile from `next_first` on.
fn add_all(
  sums_0: ptr<function, Strip>, sums_1: ptr<function, Strip>, which: u32,
  ahead: ptr<function, Cells>, next: u32, next_first: u32, t: u32,
) {
  put_other(ahead, t);
  workgroupBarrier();
  if CHUNKS > 1u {
    *ahead = fetch_other(which, 1u, t);
    add_products(sums_0, t);
    workgroupBarrier();
    put_other(ahead, t);
    workgroupBarrier();
  }
  tile_first = next_first;
  *ahead = fetch_other(next, 0u, t);
  if CHUNKS > 1u { add_products(sums_1, t); } else { add_products(sums_0, t); }
  workgroupBarrier();
}

// Adds sums to a chunk of dk or dv.
fn write(sums: ptr<function, Strip>, which: u32, chunk: u32, t: u32) {
  workgroupBarrier();
  show(sums, t);
  workgroupBarrier();
  let row = own_first + row_of(t);
  for (var i = 0u; i < CELLS; i++) {
    let c = chunk * WIDTH + column_of(i, t);
    if row < params.rows && c * 4u < params.head_dim {
      let at = (row * params.heads + head) * (params.head_dim / 4u) + c;
      var sum = shown(i, t);
      if which == KEY {
        sum *= params.scale;
        if params.accumulate != 0u { sum += dk[at]; }
        dk[at] = sum;
      } else {
        if params.accumulate != 0u { sum += dv[at]; }
        dv[at] = sum;
      }
    }
  }
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
  own_first = own;
  held = queries;

  let range = in_part(query_range[min(own + row_of(t), params.rows - 1u)]);
  var dk_0: Strip;
  var dk_1: Strip;
  var dv_0: Strip;
  var dv_1: Strip;
  var ahead: Cells;
  tile_first = queries.x / BN * BN;
  if queries.x < queries.y { ahead = fetch_other(KEY, 0u, t); }
  for (var first = queries.x / BN * BN; first < queries.y; first += BN) {
    if t < BN {
      let at = within_held(first + t) * params.heads + head;
      sides[t] = lse[at];
      sides[BN + t] = delta[at];
    }
    show_dots(KEY, false, &ahead, VALUE, t);
    var weights: Scores;
    for (var i = 0u; i < CELLS; i++) {
      let weight = exp(shown(i, t) * params.scale - sides_of(i, t));
      weights[i] = select(vec4<f32>(), weight, inside(first, i, range, t));
      own_tile[cell(i, t)] = narrow(weights[i]);
    }
    add_all(&dv_0, &dv_1, VALUE, &ahead, VALUE, first, t);
    // A single chunk of dy is in its tile already.
    show_dots(VALUE, CHUNKS == 1u, &ahead, KEY, t);
    for (var i = 0u; i < CELLS; i++) {
      own_tile[cell(i, t)] = narrow(weights[i] * (shown(i, t) - deltas_of(i, t)));
    }
    add_all(&dk_0, &dk_1, KEY, &ahead, KEY, first + BN, t);
  }
  write(&dk_0, KEY, 0u, t);
  write(&dv_0, VALUE, 0u, t);
  if CHUNKS > 1u {
    write(&dk_1, KEY, 1u, t);
    write(&dv_1, VALUE, 1u, t);
  }
}
