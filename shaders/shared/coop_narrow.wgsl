// Products with few columns, such as LoRA's A and B make: a workgroup has 16 × 16 sums, and its subgroups share out K.
// Needs from the kernel's file
//   fn a8(row, k) -> Eight, fn b4(k, column) -> Four: eight elements of A along k, four of B along the way that B_ALONG_K
//   says; 0 outside of K, anything beyond the last column.
// Numerics: f16 operands, f32 sums; k in rising order within a subgroup's share, and the shares in order.
alias Four = vec4<f16>;
alias Eight = mat2x4<f16>;
const BK: u32 = 128u;
const SUBGROUPS: u32 = 4u;
const THREADS: u32 = 32u * SUBGROUPS;
const LDA: u32 = BK / 4u + 2u;
const LDB: u32 = select(6u, BK / 4u + 2u, B_ALONG_K);
var<workgroup> tile_a: array<Four, 16u * LDA>;
var<workgroup> tile_b: array<Four, select(BK, 16u, B_ALONG_K) * LDB>;
var<workgroup> shares: array<f32, SUBGROUPS * 256u>;

fn load_b(k: u32) -> coop_mat16x16<f16, B> {
  if B_ALONG_K { return coopLoad<coop_mat16x16<f16, B>>(&tile_b[k / 4u], LDB); }
  return coopLoadT<coop_mat16x16<f16, B>>(&tile_b[k * LDB], LDB);
}

// Leaves the shares' sums in `shares`.
fn product(row0: u32, column0: u32, depth: u32, t: u32) {
  var sums: coop_mat16x16<f32, C>;
  for (var k0 = 0u; k0 < depth; k0 += BK) {
    workgroupBarrier();
    for (var q = 0u; q < 2u * BK / THREADS; q++) {
      let i = t + q * THREADS;
      let values = a8(row0 + i / (BK / 8u), k0 + i % (BK / 8u) * 8u);
      let at = i / (BK / 8u) * LDA + i % (BK / 8u) * 2u;
      tile_a[at] = values[0];
      tile_a[at + 1u] = values[1];
    }
    for (var q = 0u; q < 4u * BK / THREADS; q++) {
      let i = t + q * THREADS;
      if B_ALONG_K {
        let k = i % (BK / 4u);
        let n = i / (BK / 4u);
        tile_b[n * LDB + k] = b4(k0 + 4u * k, column0 + n);
      } else {
        tile_b[i / 4u * LDB + i % 4u] = b4(k0 + i / 4u, column0 + i % 4u * 4u);
      }
    }
    workgroupBarrier();
    for (var k = t / 32u * 16u; k < BK; k += 16u * SUBGROUPS) {
      let a = coopLoadT<coop_mat16x16<f16, A>>(&tile_a[k / 4u], LDA);
      sums = coopMultiplyAdd(a, load_b(k), sums);
    }
  }
  let result = sums;
  let at = t / 32u * 256u;
  coopStoreT(result, &shares[at], 16u);
  workgroupBarrier();
}

fn sum_of_shares(i: u32) -> f32 { return shares[i] + shares[i + 256u] + shares[i + 512u] + shares[i + 768u]; }
