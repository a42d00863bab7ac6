// y = softmax(scale·q·kᵀ)·v: attention_tiled.wgsl with cooperative matrices
// Shapes    as in attention.wgsl; head_dim is a multiple of 16, at most 64·CHUNKS.
// Dispatch  one workgroup of THREADS per key head and BM of its items (see attention_items.wgsl), over x and y.
// Numerics  q, k, v and exp(score − maximum) are rounded to f16; scores, sums and y in f32.
// Output    y =, lse =; with `accumulate` both go on from what the parts of kv before this one gave
struct Params {
  rows: u32, heads: u32, kv_heads: u32, head_dim: u32, scale: f32,
  first: u32, count: u32, accumulate: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> kv_range: array<vec2<u32>>;
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;

const KEY: u32 = 0u;
const VALUE: u32 = 1u;
// The items' places in q, and what is shared between those who have a row.
var<workgroup> own_heads: array<u32, BM>;
var<workgroup> shares: array<f32, THREADS>;
var<private> tile_first: u32;

fn own_at(which: u32, row: u32, c: u32) -> Cell {
  if c * 4u >= params.head_dim { return Cell(); }
  return q_cell(own_heads[row] * (params.head_dim / 4u) + c);
}

fn other_at(which: u32, row: u32, c: u32) -> Cell {
  if c * 4u >= params.head_dim { return Cell(); }
  return kv_cell(kv_of(which, within_held(tile_first + row)) * (params.head_dim / 4u) + c);
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
  held = keys;
  // Behind the last item there are copies of it, which are not written.
  if t < BM { own_heads[t] = head_of(min(own + t, items - 1u)); }
  workgroupBarrier();

  let at = own_heads[row_of(t)];
  let range = in_part(kv_range[min(own + row_of(t), items - 1u) / group()]);
  let width = params.head_dim / 4u;
  // One of four invocations counts what there was before.
  let counts = f32(column_of(0u, t) == 0u);
  var peak = LOWEST;
  var total = 0.0;
  var sums: array<vec4<f32>, CELLS * CHUNKS>;
  if params.accumulate != 0u {
    // Normalised by exp(lse): a running sum of 1 under a maximum of lse.
    peak = lse[at];
    total = counts;
    for (var i = 0u; i < CELLS * CHUNKS; i++) {
      let c = i / CELLS * WIDTH + column_of(i % CELLS, t);
      if c < width { sums[i] = y_at(at * width + c); }
    }
  } else if range.x >= range.y {
    // No key in this part: 0 with no weight, for those to come to go on from.
    total = counts;
  }
  var ahead: Cells;
  tile_first = keys.x / BN * BN;
  if keys.x < keys.y { ahead = fetch_other(KEY, 0u, t); }
  for (var first = keys.x / BN * BN; first < keys.y; first += BN) {
    show_dots(KEY, false, &ahead, VALUE, t);
    var scores: Scores;
    var highest = peak;
    for (var i = 0u; i < CELLS; i++) {
      let score = select(vec4(LOWEST), shown(i, t) * params.scale, inside(first, i, range, t));
      scores[i] = score;
      highest = max(highest, max(max(score.x, score.y), max(score.z, score.w)));
    }
    shares[t] = highest;
    workgroupBarrier();
    highest = max(max(shares[t], shares[t ^ 1u]), max(shares[t ^ 32u], shares[t ^ 33u]));
    let correction = exp(peak - highest);
    peak = highest;
    total *= correction;
    for (var i = 0u; i < CELLS; i++) {
      let weight = select(vec4<f32>(), exp(scores[i] - peak), scores[i] > vec4(LOWEST));
      total += weight.x + weight.y + weight.z + weight.w;
      own_tile[cell(i, t)] = narrow(weight);
    }
    for (var chunk = 0u; chunk < CHUNKS; chunk++) {
      put_other(&ahead, t);
      workgroupBarrier();
      if chunk + 1u < CHUNKS {
        ahead = fetch_other(VALUE, chunk + 1u, t);
      } else {
        tile_first = first + BN;
        ahead = fetch_other(KEY, 0u, t);
      }
      var products: Strip;
      add_products(&products, t);
      show(&products, t);
      workgroupBarrier();
      for (var i = 0u; i < CELLS; i++) {
        let sum = sums[chunk * CELLS + i] * correction;
        sums[chunk * CELLS + i] = sum + shown(i, t);
      }
    }
  }
  shares[t] = total;
  workgroupBarrier();
  let four = t & ~33u;
  total = shares[four] + shares[four + 1u] + shares[four + 32u] + shares[four + 33u];
  if own + row_of(t) >= items { return; }
  for (var i = 0u; i < CELLS * CHUNKS; i++) {
    let c = i / CELLS * WIDTH + column_of(i % CELLS, t);
    if c < width { y_put(at * width + c, sums[i] / total); }
  }
  if column_of(0u, t) == 0u { lse[at] = peak + log(total); }
}
