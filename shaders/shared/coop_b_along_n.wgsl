// The tile of B in workgroup memory, rows of BN elements: for a B whose neighbours in memory are neighbours in n.
// Needs a tile file, shared/coop_matmul.wgsl, and from the kernel's file
//   fn b8(k, column) -> mat2x4<f16>, fn f4(k, column) -> vec4<f16>: eight elements along n, and four of the extension's,
//   0 from its end on.
const LDB: u32 = BN / 4u + 2u;
var<workgroup> tile_b: array<vec4<f16>, BK * LDB>;

fn load_b(k: u32, n: u32) -> coop_mat16x16<f16, B> {
  return coopLoadT<coop_mat16x16<f16, B>>(&tile_b[k * LDB + n / 4u], LDB);
}

fn fill_b(k0: u32, column0: u32, t: u32) {
  const UNITS: u32 = BN / 8u;
  for (var q = 0u; q < BK * UNITS / THREADS; q++) {
    let k = t / UNITS + q * (THREADS / UNITS);
    let values = b8(k0 + k, column0 + t % UNITS * 8u);
    let at = k * LDB + t % UNITS * 2u;
    tile_b[at] = values[0];
    tile_b[at + 1u] = values[1];
  }
}

fn extend_b(k0: u32, column0: u32, t: u32) {
  for (var i = t; i < 16u * (BN / 4u); i += THREADS) {
    tile_b[i / (BN / 4u) * LDB + i % (BN / 4u)] = f4(k0 + i / (BN / 4u), column0 + i % (BN / 4u) * 4u);
  }
}
