// The tiled product behind every matmul: acc[BM × BN] += Σ_k a(row, k) · b(k, column).
// Needs a tile file, and from the kernel's file
//   fn a_at(phase, row, k) -> f32, fn b_at(phase, k, column) -> f32   (0 outside the matrices)
//   const A_ALONG_K, B_ALONG_K: whether neighbours in memory are neighbours in k.
// Numerics: f32, k in rising order, so a result does not depend on M, on N or on the grid.
const THREADS: u32 = (BM / TM) * (BN / 4u);
var<workgroup> tile_a: array<f32, BM * BK>;
var<workgroup> tile_b: array<f32, BK * BN>;
var<private> acc: array<vec4<f32>, TM>;

fn clear_acc() {
  for (var i = 0u; i < TM; i++) { acc[i] = vec4<f32>(); }
}

fn accumulate(phase: u32, depth: u32, row0: u32, column0: u32, t: u32) {
  let thread_row = (t / (BN / 4u)) * TM;
  let thread_column = (t % (BN / 4u)) * 4u;
  for (var k0 = 0u; k0 < depth; k0 += BK) {
    for (var i = t; i < BM * BK; i += THREADS) {
      let m = select(i % BM, i / BK, A_ALONG_K);
      let k = select(i / BM, i % BK, A_ALONG_K);
      tile_a[k * BM + m] = a_at(phase, row0 + m, k0 + k);
    }
    for (var i = t; i < BK * BN; i += THREADS) {
      let n = select(i % BN, i / BK, B_ALONG_K);
      let k = select(i / BN, i % BK, B_ALONG_K);
      tile_b[k * BN + n] = b_at(phase, k0 + k, column0 + n);
    }
    workgroupBarrier();
    for (var k = 0u; k < BK; k++) {
      let at = k * BN + thread_column;
      let b = vec4<f32>(tile_b[at], tile_b[at + 1u], tile_b[at + 2u], tile_b[at + 3u]);
      for (var i = 0u; i < TM; i++) {
        acc[i] = fma(vec4<f32>(tile_a[k * BM + thread_row + i]), b, acc[i]);
      }
    }
    workgroupBarrier();
  }
}
