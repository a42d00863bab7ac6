// The tile of B in workgroup memory, columns of BK elements: for a B whose neighbours in memory are neighbours in k.
// Needs a tile file, shared/coop_matmul.wgsl, and from the kernel's file
//   fn b8(column, k) -> mat2x4<f16>, fn f4(column, k) -> vec4<f16>: eight elements along k, and four of the extension's,
//   0 from its end on.
const LDB: u32 = BK / 4u + 2u;
var<workgroup> tile_b: array<vec4<f16>, BN * LDB>;

fn load_b(k: u32, n: u32) -> coop_mat16x16<f16, B> {
  return coopLoad<coop_mat16x16<f16, B>>(&tile_b[n * LDB + k / 4u], LDB);
}

fn fill_b(k0: u32, column0: u32, t: u32) {
  const UNITS: u32 = BK / 8u;
  for (var q = 0u; q < BN * UNITS / THREADS; q++) {
    let n = t / UNITS + q * (THREADS / UNITS);
    let values = b8(column0 + n, k0 + t % UNITS * 8u);
    let at = n * LDB + t % UNITS * 2u;
    tile_b[at] = values[0];
    tile_b[at + 1u] = values[1];
  }
}

fn extend_b(k0: u32, column0: u32, t: u32) {
  for (var i = t; i < BN * 4u; i += THREADS) { tile_b[i / 4u * LDB + i % 4u] = f4(column0 + i / 4u, k0 + i % 4u * 4u); }
}
