// The tiled product behind the cooperative matmuls: sums[BM × BN] += Σ_k a(row, k) · b(k, column), in f16 with sums in
// f32, by matrices of 16 × 16 that 32 lanes hold together. Every tile lies inside the matrices, and BK divides K.
// Needs a tile file, a file for B's tile, and from the kernel's file
//   fn first(row, column) -> coop_mat16x16<f32, C>, fn store(sums, row, column): where sums begin and end;
//   fn a8(row, k) -> mat2x4<f16>: eight elements of A along k;
//   fn e4(row, k) -> vec4<f16>: four elements along k of the extension's A, 0 from its end on.
// Numerics: k in rising order, so a result does not depend on M, on N or on the grid.
const THREADS: u32 = 32u * (BM / SM) * (BN / SN);
// Rows in workgroup memory are padded by 8 elements against bank conflicts; strides count vectors of four.
const LDA: u32 = BK / 4u + 2u;
var<workgroup> tile_a: array<vec4<f16>, BM * LDA>;

fn load_a(m: u32, k: u32) -> coop_mat16x16<f16, A> {
  return coopLoadT<coop_mat16x16<f16, A>>(&tile_a[m * LDA + k / 4u], LDA);
}

fn fill_a(row0: u32, k0: u32, t: u32) {
  const UNITS: u32 = BK / 8u;
  for (var q = 0u; q < BM * UNITS / THREADS; q++) {
    let m = t / UNITS + q * (THREADS / UNITS);
    let values = a8(row0 + m, k0 + t % UNITS * 8u);
    let at = m * LDA + t % UNITS * 2u;
    tile_a[at] = values[0];
    tile_a[at + 1u] = values[1];
  }
}

// The product over a range of K, with r more steps of the extension before them.
fn product(wg: vec3<u32>, range: vec2<u32>, r: u32, t: u32) {
  let row0 = wg.y * BM;
  let column0 = wg.x * BN;
  let m = t / 32u / (BN / SN) * SM;
  let n = t / 32u % (BN / SN) * SN;
  begin(row0 + m, column0 + n);
  for (var k0 = 0u; k0 < r; k0 += 16u) {
    workgroupBarrier();
    for (var i = t; i < BM * 4u; i += THREADS) { tile_a[i / 4u * LDA + i % 4u] = e4(row0 + i / 4u, k0 + i % 4u * 4u); }
    extend_b(k0, column0, t);
    workgroupBarrier();
    multiply(m, n, 0u);
  }
  for (var k0 = range.x; k0 < range.y; k0 += BK) {
    workgroupBarrier();
    fill_a(row0, k0, t);
    fill_b(k0, column0, t);
    workgroupBarrier();
    for (var k = 0u; k < BK; k += 16u) { multiply(m, n, k); }
  }
  finish(row0 + m, column0 + n);
}
