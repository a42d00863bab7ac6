// The product behind matmul_tn_narrow.wgsl: a workgroup has BM × 16 sums; its groups of 64 threads share out the tokens,
// and each thread has 4 × 4.
// Needs from the kernel's file
//   fn a4(k, row, depth) -> Four, fn b4(k, column, depth) -> Four: four elements of a token; 0 from `depth` on.
// Numerics: f32; tokens in rising order within a group's share, and the shares in order.
alias Four = vec4<f32>;
const BM: u32 = 64u;
const BK: u32 = 32u;
const GROUPS: u32 = 4u;
const THREADS: u32 = 64u * GROUPS;
var<workgroup> tile_a: array<Four, BK * BM / 4u>;
var<workgroup> tile_b: array<Four, BK * 4u>;
var<workgroup> sums: array<f32, BM * 16u>;

// Leaves the tokens' sum in `sums`.
fn product(from_k: u32, depth: u32, row0: u32, column0: u32, t: u32) {
  let m = t % 64u / 4u;
  let n = t % 4u;
  var own: mat4x4<f32>;
  for (var k0 = from_k; k0 < depth; k0 += BK) {
    workgroupBarrier();
    for (var i = t; i < BK * BM / 4u; i += THREADS) {
      tile_a[i] = a4(k0 + i / (BM / 4u), row0 + i % (BM / 4u) * 4u, depth);
    }
    for (var i = t; i < BK * 4u; i += THREADS) { tile_b[i] = b4(k0 + i / 4u, column0 + i % 4u * 4u, depth); }
    workgroupBarrier();
    for (var k = t / 64u * (BK / GROUPS); k < (t / 64u + 1u) * (BK / GROUPS); k++) {
      let a = tile_a[k * (BM / 4u) + m];
      let b = tile_b[k * 4u + n];
      own[0] = fma(vec4(a.x), b, own[0]);
      own[1] = fma(vec4(a.y), b, own[1]);
      own[2] = fma(vec4(a.z), b, own[2]);
      own[3] = fma(vec4(a.w), b, own[3]);
    }
  }
  for (var group = 0u; group < GROUPS; group++) {
    if t / 64u == group {
      for (var i = 0u; i < 4u; i++) {
        for (var j = 0u; j < 4u; j++) {
          let at = (m * 4u + i) * 16u + n * 4u + j;
          sums[at] = select(sums[at], 0.0, group == 0u) + own[i][j];
        }
      }
    }
    workgroupBarrier();
  }
}
