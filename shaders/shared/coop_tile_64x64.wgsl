// Output tile of one workgroup: BM × BN with K in steps of BK; SM × SN of it belong to a subgroup, which holds them as
// matrices of 16 × 16. Written out, since an array of these would not be kept in registers.
// Needs shared/coop_matmul.wgsl.
const BM: u32 = 64u;
const BN: u32 = 64u;
const BK: u32 = 32u;
const SM: u32 = 32u;
const SN: u32 = 32u;
var<private> c00: coop_mat16x16<f32, C>;
var<private> c01: coop_mat16x16<f32, C>;
var<private> c10: coop_mat16x16<f32, C>;
var<private> c11: coop_mat16x16<f32, C>;

// What the sums begin with, for the subgroup whose first row and column these are.
fn begin(row: u32, column: u32) {
  c00 = first(row, column);
  c01 = first(row, column + 16u);
  c10 = first(row + 16u, column);
  c11 = first(row + 16u, column + 16u);
}

// Adds 16 steps of K; m, n and k count within the tile.
fn multiply(m: u32, n: u32, k: u32) {
  let a0 = load_a(m, k);
  let a1 = load_a(m + 16u, k);
  let b0 = load_b(k, n);
  c00 = coopMultiplyAdd(a0, b0, c00);
  c10 = coopMultiplyAdd(a1, b0, c10);
  let b1 = load_b(k, n + 16u);
  c01 = coopMultiplyAdd(a0, b1, c01);
  c11 = coopMultiplyAdd(a1, b1, c11);
}

fn finish(row: u32, column: u32) {
  store(c00, row, column);
  store(c01, row, column + 16u);
  store(c10, row + 16u, column);
  store(c11, row + 16u, column + 16u);
}
