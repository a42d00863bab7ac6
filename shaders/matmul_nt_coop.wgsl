// y[M,N] = x·Wᵀ + e·Fᵀ + bias + residual: matmul_nt.wgsl with cooperative matrices
// Shapes    as in matmul_nt.wgsl; M and N are multiples of the tile's, K of BK, ldx and x_offset of what is read at once.
// Dispatch  (N/BN, M/BM, 1) workgroups of THREADS.
// Numerics  f16 operands, f32 sums; they begin with bias and residual, and the extension comes before the rest, so with
//           F = 0 the result is the base's, bit for bit.
// Output    y =
struct Params {
  k: u32, r: u32,
  ldx: u32, x_offset: u32, ldy: u32, y_offset: u32,
  lde: u32, e_offset: u32, second: u32, third: u32,
  has_bias: u32, has_residual: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read> e: array<f32>;
@group(0) @binding(4) var<storage, read> f: array<f32>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read> residual: array<f32>;
@group(0) @binding(7) var<storage, read_write> y: array<f32>;

fn first(row: u32, column: u32) -> coop_mat16x16<f32, C> {
  var sums: coop_mat16x16<f32, C>;
  let ld = params.ldy;
  if params.has_residual != 0u {
    sums = coopLoadT<coop_mat16x16<f32, C>>(&residual[row * ld + params.y_offset + column], ld);
  }
  // Every row of it is the same one.
  if params.has_bias != 0u { sums = sums + coopLoadT<coop_mat16x16<f32, C>>(&bias[column], 0u); }
  return sums;
}

fn store(sums: coop_mat16x16<f32, C>, row: u32, column: u32) {
  let ld = params.ldy;
  let at = row * ld + params.y_offset + column;
  coopStoreT(sums, &y[at], ld);
}

fn a8(row: u32, k: u32) -> mat2x4<f16> { return x_eight(row * params.ldx + params.x_offset + k); }
fn b8(column: u32, k: u32) -> mat2x4<f16> { return weights_eight(column * params.k + k); }

fn at_most(k: u32) -> vec4<u32> { return min(vec4(k, k + 1u, k + 2u, k + 3u), vec4(params.r - 1u)); }
fn inside(k: u32) -> vec4<bool> { return vec4(k, k + 1u, k + 2u, k + 3u) < vec4(params.r); }
// Where the tile's columns of e begin.
var<private> own_e: u32;
fn e4(row: u32, k: u32) -> vec4<f16> {
  let at = vec4(row * params.lde + own_e) + at_most(k);
  return vec4<f16>(select(vec4<f32>(), vec4(e[at.x], e[at.y], e[at.z], e[at.w]), inside(k)));
}
fn f4(column: u32, k: u32) -> vec4<f16> {
  let at = vec4(column * params.r) + at_most(k);
  return vec4<f16>(select(vec4<f32>(), vec4(f[at.x], f[at.y], f[at.z], f[at.w]), inside(k)));
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let column0 = wg.x * BN;
  own_e = params.e_offset + params.r * (u32(column0 >= params.second) + u32(column0 >= params.third));
  product(wg, vec2(0u, params.k), params.r, t);
}
