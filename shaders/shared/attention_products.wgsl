// The products behind the tiled attention kernels. A workgroup has BM rows of its own and goes through the other side in
// tiles of BN. Of a product over head_dim a thread holds TM own rows × 4 others, COLUMNS apart, four own rows to a
// vector; of a product over the others TM own rows × TD vectors of four columns.
// Needs a tile file, and from the kernel's file
//   fn own_at(which, row, c) -> vec4<f32>, fn other_at(which, row, c) -> vec4<f32>: columns 4c … 4c + 3, 0 outside.
// Numerics: f32, head_dim and the others in rising order. Whoever calls these has left the pool behind a barrier.
const THREADS: u32 = 128u;
const COLUMNS: u32 = 16u;
const BM: u32 = THREADS / COLUMNS * TM;
const BN: u32 = 4u * COLUMNS;
// Vectors of four rows: of a thread, and of the tile.
const TV: u32 = TM / 4u;
const MV: u32 = BM / 4u;
// Vectors along head_dim, and others, in the pool at a time.
const DEPTH: u32 = 8u;
const HALF: u32 = BN / 2u;
// Where the other side's share of the pool begins.
const OTHER: u32 = BM * DEPTH;
alias Scores = array<vec4<f32>, 4u * TV>;
alias Sums = array<vec4<f32>, TM * TD>;
// Vectors lie XORed with their row, so that neither the threads of a row nor those of a column meet in a bank.
var<workgroup> pool: array<vec4<f32>, (BM + BN) * DEPTH>;

// own · other, for the tile of others from `first` on.
fn dots(which: u32, own: u32, first: u32, t: u32) -> Scores {
  var scores: Scores;
  let rows = t / COLUMNS;
  let column = t % COLUMNS;
  for (var c0 = 0u; c0 * 4u < params.head_dim; c0 += DEPTH) {
    for (var i = t; i < BM * DEPTH; i += THREADS) {
      let row = i / DEPTH;
      pool[row * DEPTH + ((i % DEPTH) ^ (row / TM))] = own_at(which, own + row, c0 + i % DEPTH);
    }
    for (var i = t; i < BN * DEPTH; i += THREADS) {
      let row = i / DEPTH;
      pool[OTHER + row * DEPTH + ((i % DEPTH) ^ (row % DEPTH))] = other_at(which, first + row, c0 + i % DEPTH);
    }
    workgroupBarrier();
    for (var c = 0u; c < DEPTH; c++) {
      var others: array<vec4<f32>, 4>;
      for (var j = 0u; j < 4u; j++) {
        others[j] = pool[OTHER + (j * COLUMNS + column) * DEPTH + (c ^ (column % DEPTH))];
      }
      for (var m = 0u; m < TV; m++) {
        let at = (rows * TM + m * 4u) * DEPTH + (c ^ rows);
        let own = transpose(mat4x4(pool[at], pool[at + DEPTH], pool[at + 2u * DEPTH], pool[at + 3u * DEPTH]));
        for (var j = 0u; j < 4u; j++) {
          var sum = fma(own[0], vec4(others[j].x), scores[j * TV + m]);
          sum = fma(own[1], vec4(others[j].y), sum);
          sum = fma(own[2], vec4(others[j].z), sum);
          scores[j * TV + m] = fma(own[3], vec4(others[j].w), sum);
        }
      }
    }
    workgroupBarrier();
  }
  return scores;
}

// sums += weights · other, for the tile of others from `first` on.
fn add_product(sums: ptr<function, Sums>, weights: ptr<function, Scores>, which: u32, first: u32, t: u32) {
  let rows = t / COLUMNS * TV;
  let column = t % COLUMNS;
  for (var half = 0u; half < 2u; half++) {
    for (var part = 0u; part < TD; part++) {
      if part * COLUMNS * 4u >= params.head_dim { break; }
      if part == 0u {
        for (var j = 0u; j < 2u; j++) {
          for (var m = 0u; m < TV; m++) {
            let at = (j * COLUMNS + column) * MV + ((rows + m) ^ (column % 8u));
            pool[at] = (*weights)[(half * 2u + j) * TV + m];
          }
        }
      }
      for (var i = t; i < HALF * COLUMNS; i += THREADS) {
        pool[OTHER + i] = other_at(which, first + half * HALF + i / COLUMNS, part * COLUMNS + i % COLUMNS);
      }
      workgroupBarrier();
      for (var k = 0u; k < HALF; k++) {
        let other = pool[OTHER + k * COLUMNS + column];
        for (var m = 0u; m < TV; m++) {
          let weight = pool[k * MV + ((rows + m) ^ (k % 8u))];
          for (var r = 0u; r < 4u; r++) {
            let at = (m * 4u + r) * TD + part;
            (*sums)[at] = fma(vec4(weight[r]), other, (*sums)[at]);
          }
        }
      }
      workgroupBarrier();
    }
  }
}
