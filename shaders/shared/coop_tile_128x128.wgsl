// Output tile of one workgroup: BM × BN with K in steps of BK; SM × SN of it belong to a subgroup, which holds them as
// matrices of 16 × 16. Written out, since an array of these would not be kept in registers.
// Needs shared/coop_matmul.wgsl.
const BM: u32 = 128u;
const BN: u32 = 128u;
const BK: u32 = 32u;
const SM: u32 = 64u;
const SN: u32 = 64u;
var<private> c00: coop_mat16x16<f32, C>;
var<private> c01: coop_mat16x16<f32, C>;
var<private> c02: coop_mat16x16<f32, C>;
var<private> c03: coop_mat16x16<f32, C>;
var<private> c10: coop_mat16x16<f32, C>;
var<private> c11: coop_mat16x16<f32, C>;
var<private> c12: coop_mat16x16<f32, C>;
var<private> c13: coop_mat16x16<f32, C>;
var<private> c20: coop_mat16x16<f32, C>;
var<private> c21: coop_mat16x16<f32, C>;
var<private> c22: coop_mat16x16<f32, C>;
var<private> c23: coop_mat16x16<f32, C>;
var<private> c30: coop_mat16x16<f32, C>;
var<private> c31: coop_mat16x16<f32, C>;
var<private> c32: coop_mat16x16<f32, C>;
var<private> c33: coop_mat16x16<f32, C>;

// What the sums begin with, for the subgroup whose first row and column these are.
fn begin(row: u32, column: u32) {
  c00 = first(row, column);
  c01 = first(row, column + 16u);
  c02 = first(row, column + 32u);
  c03 = first(row, column + 48u);
  c10 = first(row + 16u, column);
  c11 = first(row + 16u, column + 16u);
  c12 = first(row + 16u, column + 32u);
  c13 = first(row + 16u, column + 48u);
  c20 = first(row + 32u, column);
  c21 = first(row + 32u, column + 16u);
  c22 = first(row + 32u, column + 32u);
  c23 = first(row + 32u, column + 48u);
  c30 = first(row + 48u, column);
  c31 = first(row + 48u, column + 16u);
  c32 = first(row + 48u, column + 32u);
  c33 = first(row + 48u, column + 48u);
}

// Adds 16 steps of K; m, n and k count within the tile.
fn multiply(m: u32, n: u32, k: u32) {
  let a0 = load_a(m, k);
  let a1 = load_a(m + 16u, k);
  let a2 = load_a(m + 32u, k);
  let a3 = load_a(m + 48u, k);
  let b0 = load_b(k, n);
  c00 = coopMultiplyAdd(a0, b0, c00);
  c10 = coopMultiplyAdd(a1, b0, c10);
  c20 = coopMultiplyAdd(a2, b0, c20);
  c30 = coopMultiplyAdd(a3, b0, c30);
  let b1 = load_b(k, n + 16u);
  c01 = coopMultiplyAdd(a0, b1, c01);
  c11 = coopMultiplyAdd(a1, b1, c11);
  c21 = coopMultiplyAdd(a2, b1, c21);
  c31 = coopMultiplyAdd(a3, b1, c31);
  let b2 = load_b(k, n + 32u);
  c02 = coopMultiplyAdd(a0, b2, c02);
  c12 = coopMultiplyAdd(a1, b2, c12);
  c22 = coopMultiplyAdd(a2, b2, c22);
  c32 = coopMultiplyAdd(a3, b2, c32);
  let b3 = load_b(k, n + 48u);
  c03 = coopMultiplyAdd(a0, b3, c03);
  c13 = coopMultiplyAdd(a1, b3, c13);
  c23 = coopMultiplyAdd(a2, b3, c23);
  c33 = coopMultiplyAdd(a3, b3, c33);
}

fn finish(row: u32, column: u32) {
  store(c00, row, column);
  store(c01, row, column + 16u);
  store(c02, row, column + 32u);
  store(c03, row, column + 48u);
  store(c10, row + 16u, column);
  store(c11, row + 16u, column + 16u);
  store(c12, row + 16u, column + 32u);
  store(c13, row + 16u, column + 48u);
  store(c20, row + 32u, column);
  store(c21, row + 32u, column + 16u);
  store(c22, row + 32u, column + 32u);
  store(c23, row + 32u, column + 48u);
  store(c30, row + 48u, column);
  store(c31, row + 48u, column + 16u);
  store(c32, row + 48u, column + 32u);
  store(c33, row + 48u, column + 48u);
}
