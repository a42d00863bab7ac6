// Tiles of the cooperative attention kernels. A workgroup has BM rows of its own and goes through the other side in
// tiles of BN, 64 columns of a head at a time. Its eight subgroups of 32 compute strips of 16 own rows × 32 (see
// coop_attention_products.wgsl); between two products each invocation has CELLS vectors of a row of its subgroup's strip.
// Needs CHUNKS, and from the kernel's file
//   fn own_at(which, row, c) -> Cell, fn other_at(which, row, c) -> Cell: columns 4c … 4c + 3 of a row of the tile, as
//   they lie in memory (converting them would wait for them); 0 behind the last column.
const THREADS: u32 = 256u;
const BM: u32 = 64u;
const BN: u32 = 64u;
// Vectors of a row: in use, and with what keeps the rows of a fragment in different banks.
const WIDTH: u32 = 16u;
const LD: u32 = 18u;
// Vectors that an invocation has, also of a tile.
const CELLS: u32 = BM * WIDTH / THREADS;
alias Cells = array<Cell, CELLS>;
alias Scores = array<vec4<f32>, CELLS>;

fn load_own(which: u32, chunk: u32, t: u32) {
  for (var i = 0u; i < CELLS; i++) {
    let row = t / WIDTH + i * (BM / CELLS);
    own_tile[row * LD + t % WIDTH] = narrow_cell(own_at(which, row, chunk * WIDTH + t % WIDTH));
  }
}

// An invocation's share of a tile of others, for it to be on its way while something else is computed.
fn fetch_other(which: u32, chunk: u32, t: u32) -> Cells {
  var values: Cells;
  for (var i = 0u; i < CELLS; i++) {
    values[i] = other_at(which, t / WIDTH + i * (BN / CELLS), chunk * WIDTH + t % WIDTH);
  }
  return values;
}

fn put_other(values: ptr<function, Cells>, t: u32) {
  for (var i = 0u; i < CELLS; i++) {
    other_tile[(t / WIDTH + i * (BN / CELLS)) * LD + t % WIDTH] = narrow_cell((*values)[i]);
  }
}

// The first row of a subgroup's strip, and its first vector in a row.
fn strip_row(t: u32) -> u32 { return t / 64u * 16u; }
fn strip_column(t: u32) -> u32 { return t / 32u % 2u * 8u; }

// An invocation's row of the tile. That of t ^ 1, t ^ 32 and t ^ 33 is the same.
fn row_of(t: u32) -> u32 { return strip_row(t) + t % 32u / 2u; }

// Its i-th vector in that row.
fn column_of(i: u32, t: u32) -> u32 { return strip_column(t) + i * 2u + t % 2u; }

fn cell(i: u32, t: u32) -> u32 { return row_of(t) * LD + column_of(i, t); }

// Which of the four others of a vector, the tile's first being `first`, are in a range.
fn inside(first: u32, i: u32, range: vec2<u32>, t: u32) -> vec4<bool> {
  let other = vec4(first + column_of(i, t) * 4u) + vec4(0u, 1u, 2u, 3u);
  return (other >= vec4(range.x)) & (other < vec4(range.y));
}

// Shows own · otherᵀ, with barriers behind. `ahead` has the first chunk of the others, unless their only one is in the
// tile; then it has that of `next`.
fn show_dots(which: u32, in_tile: bool, ahead: ptr<function, Cells>, next: u32, t: u32) {
  var products: Strip;
  for (var chunk = 0u; chunk < CHUNKS; chunk++) {
    if chunk > 0u {
      *ahead = fetch_other(which, chunk, t);
      workgroupBarrier();
    }
    load_own(which, chunk, t);
    if !in_tile { put_other(ahead, t); }
    workgroupBarrier();
    if chunk + 1u == CHUNKS { *ahead = fetch_other(next, 0u, t); }
    add_dots(&products, t);
  }
  show(&products, t);
  workgroupBarrier();
}
