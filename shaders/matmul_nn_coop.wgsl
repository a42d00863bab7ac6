// y[M,N] (+)= e·F + x·W: matmul_nn.wgsl with cooperative matrices and without dropout
// Shapes    as in matmul_nn.wgsl; M and N are multiples of the tile's, K of BK, ldx and x_offset of what is read at once.
// Dispatch  (N/BN, M/BM, shares) workgroups of THREADS. With more than one share of K, `share` steps each, y is
//           [shares, M, N], for sum_shares.wgsl.
// Numerics  f16 operands, f32 sums, which begin with y if it is added to.
// Output    y =, or += with `accumulate`
struct Params {
  m: u32, n: u32, k: u32, r: u32,
  ldx: u32, x_offset: u32, lde: u32, e_offset: u32,
  accumulate: u32, share: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read> e: array<f32>;
@group(0) @binding(4) var<storage, read> f: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

// Where this share's result begins.
var<private> part: u32;

fn first(row: u32, column: u32) -> coop_mat16x16<f32, C> {
  var sums: coop_mat16x16<f32, C>;
  let ld = params.n;
  if params.accumulate != 0u { sums = coopLoadT<coop_mat16x16<f32, C>>(&y[row * ld + column], ld); }
  return sums;
}

fn store(sums: coop_mat16x16<f32, C>, row: u32, column: u32) {
  let ld = params.n;
  let at = part + row * ld + column;
  coopStoreT(sums, &y[at], ld);
}

fn a8(row: u32, k: u32) -> mat2x4<f16> { return x_eight(row * params.ldx + params.x_offset + k); }
fn b8(k: u32, column: u32) -> mat2x4<f16> { return weights_eight(k * params.n + column); }

fn e4(row: u32, k: u32) -> vec4<f16> {
  let steps = vec4(k, k + 1u, k + 2u, k + 3u);
  let at = vec4(row * params.lde + params.e_offset) + min(steps, vec4(params.r - 1u));
  return vec4<f16>(select(vec4<f32>(), vec4(e[at.x], e[at.y], e[at.z], e[at.w]), steps < vec4(params.r)));
}
fn f4(k: u32, column: u32) -> vec4<f16> {
  let at = min(k, params.r - 1u) * params.n + column;
  return vec4<f16>(select(vec4<f32>(), f[at >> 2u], k < params.r));
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  part = wg.z * params.m * params.n;
  let from_k = wg.z * params.share;
  product(wg, vec2(from_k, min(params.k, from_k + params.share)), select(0u, params.r, wg.z == 0u), t);
}
