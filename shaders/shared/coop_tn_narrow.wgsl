// The product behind matmul_tn_narrow.wgsl with cooperative matrices: a workgroup has BM × 16 sums, a subgroup 16 × 16.
// Needs from the kernel's file
//   fn a4(k, row, depth) -> Four, fn b4(k, column, depth) -> Four: four elements of a token; 0 from `depth` on.
// Numerics: f16 operands, f32 sums, tokens in rising order.
alias Four = vec4<f16>;
const BM: u32 = 64u;
const BK: u32 = 64u;
const THREADS: u32 = 2u * BM;
const LDA: u32 = BM / 4u + 2u;
const LDB: u32 = 6u;
var<workgroup> tile_a: array<Four, BK * LDA>;
var<workgroup> tile_b: array<Four, BK * LDB>;
var<workgroup> sums: array<f32, BM * 16u>;

// Leaves the tokens' sum in `sums`.
fn product(from_k: u32, depth: u32, row0: u32, column0: u32, t: u32) {
  let m = t / 32u * 16u;
  var own: coop_mat16x16<f32, C>;
  for (var k0 = from_k; k0 < depth; k0 += BK) {
    workgroupBarrier();
    for (var q = 0u; q < BK * BM / 4u / THREADS; q++) {
      let i = t + q * THREADS;
      tile_a[i / (BM / 4u) * LDA + i % (BM / 4u)] = a4(k0 + i / (BM / 4u), row0 + i % (BM / 4u) * 4u, depth);
    }
    for (var q = 0u; q < BK * 4u / THREADS; q++) {
      let i = t + q * THREADS;
      tile_b[i / 4u * LDB + i % 4u] = b4(k0 + i / 4u, column0 + i % 4u * 4u, depth);
    }
    workgroupBarrier();
    for (var k = 0u; k < BK; k += 16u) {
      let left = coopLoad<coop_mat16x16<f16, A>>(&tile_a[k * LDA + m / 4u], LDA);
      let right = coopLoadT<coop_mat16x16<f16, B>>(&tile_b[k * LDB], LDB);
      own = coopMultiplyAdd(left, right, own);
    }
  }
  let result = own;
  let at = m * 16u;
  coopStoreT(result, &sums[at], 16u);
  workgroupBarrier();
}
