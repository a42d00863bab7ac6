// The tiled product behind every matmul: Σ_k a(row, k) · b(k, column) is added to acc0 … acc3, four of a thread's rows by
// four of its columns.
// Needs a tile file, and from the kernel's file
//   const A_ALONG_K, B_ALONG_K: whether the four neighbours below are neighbours in k, or else in rows and in columns;
//   fn a4(phase, row, k) -> vec4<f32>, fn b4(phase, k, column) -> vec4<f32>: four neighbours, 0 for a k outside the
//   matrices, anything for rows and columns outside;
//   fn store(row, columns, values): what becomes of four sums of a row.
// Numerics: f32, k in rising order, so a result does not depend on M, on N or on the tile.
const THREADS: u32 = (BM / 4u) * (BN / 4u);
const ROWS: u32 = BM / 4u;
const COLUMNS: u32 = BN / 4u;
// Lines of a tile are counted in vectors; those along k are padded by one against bank conflicts.
const LDA: u32 = select(ROWS, BK / 4u + 1u, A_ALONG_K);
const LDB: u32 = select(COLUMNS, BK / 4u + 1u, B_ALONG_K);
var<workgroup> tile_a: array<vec4<f32>, select(BK, BM, A_ALONG_K) * LDA>;
var<workgroup> tile_b: array<vec4<f32>, select(BK, BN, B_ALONG_K) * LDB>;
var<private> acc0: vec4<f32>;
var<private> acc1: vec4<f32>;
var<private> acc2: vec4<f32>;
var<private> acc3: vec4<f32>;

// A thread's i-th row of the tile: neighbours of those of the threads beside it where a line of the tile is a row.
fn row_of(i: u32, t: u32) -> u32 { return select(t / COLUMNS * 4u + i, t / COLUMNS + i * ROWS, A_ALONG_K); }

// Its four columns.
fn columns_of(t: u32) -> vec4<u32> {
  let j = vec4(0u, 1u, 2u, 3u);
  return select(vec4(t % COLUMNS * 4u) + j, vec4(t % COLUMNS) + j * COLUMNS, B_ALONG_K);
}

fn fill(phase: u32, k0: u32, row0: u32, column0: u32, t: u32) {
  for (var i = t; i < BM * BK / 4u; i += THREADS) {
    if A_ALONG_K {
      tile_a[i / (BK / 4u) * LDA + i % (BK / 4u)] = a4(phase, row0 + i / (BK / 4u), k0 + i % (BK / 4u) * 4u);
    } else {
      tile_a[i] = a4(phase, row0 + i % ROWS * 4u, k0 + i / ROWS);
    }
  }
  for (var i = t; i < BN * BK / 4u; i += THREADS) {
    if B_ALONG_K {
      tile_b[i / (BK / 4u) * LDB + i % (BK / 4u)] = b4(phase, k0 + i % (BK / 4u) * 4u, column0 + i / (BK / 4u));
    } else {
      tile_b[i] = b4(phase, k0 + i / COLUMNS, column0 + i % COLUMNS * 4u);
    }
  }
}

// A thread's four rows by the q-th four steps of k.
fn own_a(q: u32, t: u32) -> mat4x4<f32> {
  if A_ALONG_K {
    let at = t / COLUMNS * LDA + q;
    const NEXT: u32 = ROWS * LDA;
    return mat4x4(tile_a[at], tile_a[at + NEXT], tile_a[at + 2u * NEXT], tile_a[at + 3u * NEXT]);
  }
  let at = q * 4u * LDA + t / COLUMNS;
  return transpose(mat4x4(tile_a[at], tile_a[at + LDA], tile_a[at + 2u * LDA], tile_a[at + 3u * LDA]));
}

// The q-th four steps of k by its four columns.
fn own_b(q: u32, t: u32) -> mat4x4<f32> {
  if B_ALONG_K {
    let at = t % COLUMNS * LDB + q;
    const NEXT: u32 = COLUMNS * LDB;
    return transpose(mat4x4(tile_b[at], tile_b[at + NEXT], tile_b[at + 2u * NEXT], tile_b[at + 3u * NEXT]));
  }
  let at = q * 4u * LDB + t % COLUMNS;
  return mat4x4(tile_b[at], tile_b[at + LDB], tile_b[at + 2u * LDB], tile_b[at + 3u * LDB]);
}

fn add(a: vec4<f32>, b: mat4x4<f32>, sum: vec4<f32>) -> vec4<f32> {
  return fma(vec4(a.w), b[3], fma(vec4(a.z), b[2], fma(vec4(a.y), b[1], fma(vec4(a.x), b[0], sum))));
}

fn accumulate(phase: u32, range: vec2<u32>, row0: u32, column0: u32, t: u32) {
  for (var k0 = range.x; k0 < range.y; k0 += BK) {
    fill(phase, k0, row0, column0, t);
    workgroupBarrier();
    for (var q = 0u; q < BK / 4u; q++) {
      let a = own_a(q, t);
      let b = own_b(q, t);
      acc0 = add(a[0], b, acc0);
      acc1 = add(a[1], b, acc1);
      acc2 = add(a[2], b, acc2);
      acc3 = add(a[3], b, acc3);
    }
    workgroupBarrier();
  }
}

fn finish(row0: u32, column0: u32, t: u32) {
  let columns = columns_of(t) + column0;
  store(row0 + row_of(0u, t), columns, acc0);
  store(row0 + row_of(1u, t), columns, acc1);
  store(row0 + row_of(2u, t), columns, acc2);
  store(row0 + row_of(3u, t), columns, acc3);
}

// Where four neighbours of a line are, from `start` on of `count` elements: the last one again beyond its end.
fn places(start: u32, i: u32, count: u32) -> vec4<u32> {
  return vec4(start) + min(vec4(i, i + 1u, i + 2u, i + 3u), vec4(count - 1u));
}

// Which of them there are.
fn present(i: u32, count: u32) -> vec4<bool> { return vec4(i, i + 1u, i + 2u, i + 3u) < vec4(count); }
