// Products with few columns, such as LoRA's A and B make: a workgroup has 16 × 16 sums, and its groups of 64 threads share
// out K; each thread has four columns of a row.
// Needs from the kernel's file
//   fn a8(row, k) -> Eight, fn b4(k, column) -> Four: eight elements of A along k, four of B along the way that B_ALONG_K
//   says; 0 outside of K, anything beyond the last column.
// Numerics: f32; k in rising order within a group's share, and the shares in order.
alias Four = vec4<f32>;
alias Eight = mat2x4<f32>;
const BK: u32 = 64u;
const GROUPS: u32 = 4u;
const THREADS: u32 = 64u * GROUPS;
const LDA: u32 = BK / 4u + 1u;
const LDB: u32 = select(4u, BK / 4u + 1u, B_ALONG_K);
var<workgroup> tile_a: array<Four, 16u * LDA>;
var<workgroup> tile_b: array<Four, select(BK, 16u, B_ALONG_K) * LDB>;
var<workgroup> shares: array<f32, GROUPS * 256u>;

// The q-th four steps of k by a thread's four columns: neighbours, or along k every fourth.
fn own_b(q: u32, t: u32) -> mat4x4<f32> {
  if B_ALONG_K {
    let at = t % 4u * LDB + q;
    const NEXT: u32 = 4u * LDB;
    return transpose(mat4x4(tile_b[at], tile_b[at + NEXT], tile_b[at + 2u * NEXT], tile_b[at + 3u * NEXT]));
  }
  let at = q * 4u * LDB + t % 4u;
  return mat4x4(tile_b[at], tile_b[at + LDB], tile_b[at + 2u * LDB], tile_b[at + 3u * LDB]);
}

// Leaves the shares' sums in `shares`.
fn product(row0: u32, column0: u32, depth: u32, t: u32) {
  var sum: vec4<f32>;
  let row = t % 64u / 4u;
  for (var k0 = 0u; k0 < depth; k0 += BK) {
    workgroupBarrier();
    for (var i = t; i < 2u * BK; i += THREADS) {
      let values = a8(row0 + i / (BK / 8u), k0 + i % (BK / 8u) * 8u);
      let at = i / (BK / 8u) * LDA + i % (BK / 8u) * 2u;
      tile_a[at] = values[0];
      tile_a[at + 1u] = values[1];
    }
    for (var i = t; i < 4u * BK; i += THREADS) {
      if B_ALONG_K {
        tile_b[i / (BK / 4u) * LDB + i % (BK / 4u)] = b4(k0 + i % (BK / 4u) * 4u, column0 + i / (BK / 4u));
      } else {
        tile_b[i] = b4(k0 + i / 4u, column0 + i % 4u * 4u);
      }
    }
    workgroupBarrier();
    const OWN: u32 = BK / 4u / GROUPS;
    for (var q = t / 64u * OWN; q < (t / 64u + 1u) * OWN; q++) {
      let a = tile_a[row * LDA + q];
      let b = own_b(q, t);
      sum = fma(vec4(a.w), b[3], fma(vec4(a.z), b[2], fma(vec4(a.y), b[1], fma(vec4(a.x), b[0], sum))));
    }
  }
  let first = select(t % 4u * 4u, t % 4u, B_ALONG_K);
  const STEP_OF_COLUMNS: u32 = select(1u, 4u, B_ALONG_K);
  let at = t / 64u * 256u + row * 16u + first;
  shares[at] = sum.x;
  shares[at + STEP_OF_COLUMNS] = sum.y;
  shares[at + 2u * STEP_OF_COLUMNS] = sum.z;
  shares[at + 3u * STEP_OF_COLUMNS] = sum.w;
  workgroupBarrier();
}

fn sum_of_shares(i: u32) -> f32 { return shares[i] + shares[i + 256u] + shares[i + 512u] + shares[i + 768u]; }
