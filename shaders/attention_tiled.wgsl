// y = softmax(scale·q·kᵀ)·v as in attention.wgsl, for a tile of rows and the heads that share a key head
// Shapes    as in attention.wgsl; head_dim is a multiple of 4.
// Dispatch  one workgroup of THREADS per key head and BM of its items (see attention_items.wgsl), over x and y.
// Numerics  f32; tiles of BN keys at multiples of BN, so that a row's result does not depend on the rows beside it.
// Output    y =, lse =; with `accumulate` both go on from what the parts of kv before this one gave
struct Params {
  rows: u32, heads: u32, kv_heads: u32, head_dim: u32, scale: f32,
  first: u32, count: u32, accumulate: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> kv_range: array<vec2<u32>>;
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;

fn own_at(which: u32, item: u32, c: u32) -> vec4<f32> {
  if item >= params.rows * group() || c * 4u >= params.head_dim { return vec4<f32>(); }
  return q_at(head_of(item) * (params.head_dim / 4u) + c);
}

fn other_at(which: u32, row: u32, c: u32) -> vec4<f32> {
  if !is_held(row) || c * 4u >= params.head_dim { return vec4<f32>(); }
  return kv_at(kv_of(which, row) * (params.head_dim / 4u) + c);
}

// Shows all threads what each has of its rows.
fn share(values: array<vec4<f32>, TV>, t: u32) {
  for (var m = 0u; m < TV; m++) { pool[t % COLUMNS * MV + t / COLUMNS * TV + m] = values[m]; }
  workgroupBarrier();
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

  let mine = own + t / COLUMNS * TM;
  let column = t % COLUMNS;
  let width = params.head_dim / 4u;
  var starts: array<vec4<u32>, TV>;
  var ends: array<vec4<u32>, TV>;
  var peak: array<vec4<f32>, TV>;
  var total: array<vec4<f32>, TV>;
  var sums: Sums;
  for (var m = 0u; m < TV; m++) {
    peak[m] = vec4(LOWEST);
    for (var r = 0u; r < 4u; r++) {
      let item = mine + m * 4u + r;
      if item >= items { continue; }
      let range = in_part(kv_range[item / group()]);
      starts[m][r] = range.x;
      ends[m][r] = range.y;
      let at = head_of(item);
      if params.accumulate != 0u {
        // Normalised by exp(lse): a running sum of 1 under a maximum of lse.
        peak[m][r] = lse[at];
        total[m][r] = f32(column == 0u);
        for (var part = 0u; part < TD; part++) {
          let c = part * COLUMNS + column;
          if c < width { sums[(m * 4u + r) * TD + part] = y_at(at * width + c); }
        }
      } else if range.x >= range.y {
        // No key in this part: 0 with no weight, for those to come to go on from.
        total[m][r] = f32(column == 0u);
      }
    }
  }
  storageBarrier();
  for (var first = keys.x / BN * BN; first < keys.y; first += BN) {
    var scores = dots(0u, own, first, t);
    var highest = peak;
    for (var j = 0u; j < 4u; j++) {
      let key = vec4(first + j * COLUMNS + column);
      for (var m = 0u; m < TV; m++) {
        let inside = (key >= starts[m]) & (key < ends[m]);
        let score = select(vec4(LOWEST), scores[j * TV + m] * params.scale, inside);
        scores[j * TV + m] = score;
        highest[m] = max(highest[m], score);
      }
    }
    share(highest, t);
    for (var m = 0u; m < TV; m++) {
      for (var c = 0u; c < COLUMNS; c++) { highest[m] = max(highest[m], pool[c * MV + t / COLUMNS * TV + m]); }
      let correction = exp(peak[m] - highest[m]);
      peak[m] = highest[m];
      total[m] *= correction;
      for (var j = 0u; j < 4u; j++) {
        let score = scores[j * TV + m];
        let weight = select(vec4<f32>(), exp(score - peak[m]), score > vec4(LOWEST));
        scores[j * TV + m] = weight;
        total[m] += weight;
      }
      for (var r = 0u; r < 4u; r++) {
        for (var part = 0u; part < TD; part++) { sums[(m * 4u + r) * TD + part] *= correction[r]; }
      }
    }
    workgroupBarrier();
    add_product(&sums, &scores, 1u, first, t);
  }
  share(total, t);
  for (var m = 0u; m < TV; m++) {
    var all = vec4<f32>();
    for (var c = 0u; c < COLUMNS; c++) { all += pool[c * MV + t / COLUMNS * TV + m]; }
    for (var r = 0u; r < 4u; r++) {
      let item = mine + m * 4u + r;
      if item >= items { continue; }
      let at = head_of(item);
      for (var part = 0u; part < TD; part++) {
        let c = part * COLUMNS + column;
        if c < width { y_put(at * width + c, sums[(m * 4u + r) * TD + part] / all[r]); }
      }
      if column == 0u { lse[at] = peak[m][r] + log(all[r]); }
    }
  }
}
