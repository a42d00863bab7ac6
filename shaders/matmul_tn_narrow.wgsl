// part_z[M,N] = a'ᵀ·b over the z-th share of the tokens, or part_z[N,M] = (a'ᵀ·b)ᵀ, with a' = dropout(a) and N small:
// matmul_tn.wgsl for the gradients of LoRA's A and B; sum_shares.wgsl adds the parts up
// Shapes    a [K, lda] from column a_offset (M of them: lda, a_offset and M are multiples of 4), b [K, ldb] from column
//           b_offset (N of them; rows of the result from `second` and from `third` on have the next N, and so have all of a
//           workgroup's), parts [shares, stride] from element `at` on; K counts tokens.
// Dispatch  (⌈N/16⌉, ⌈M/64⌉, shares) workgroups of THREADS; a share is `share` tokens, a multiple of BK.
// Numerics  those of shared/coop_tn_narrow.wgsl or shared/plain_tn_narrow.wgsl.
// Output    parts =
struct Params {
  m: u32, n: u32, k: u32,
  lda: u32, a_offset: u32, ldb: u32, b_offset: u32,
  share: u32, at: u32, stride: u32, transposed: u32,
  second: u32, third: u32,
  dropout_module: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> parts: array<f32>;

// Four elements of a row of tokens.
fn a4(k: u32, row: u32, depth: u32) -> Four {
  let token = min(k, depth - 1u);
  let v = a_at((token * params.lda + params.a_offset + min(row, params.m - 4u)) >> 2u);
  let kept = vec4(dropped(v.x, k, row), dropped(v.y, k, row + 1u), dropped(v.z, k, row + 2u), dropped(v.w, k, row + 3u));
  return Four(select(vec4<f32>(), kept, k < depth));
}
// Where the rows' columns of b begin.
var<private> own_b: u32;
fn b4(k: u32, column: u32, depth: u32) -> Four {
  let columns = min(vec4(column, column + 1u, column + 2u, column + 3u), vec4(params.n - 1u));
  let at = vec4(min(k, depth - 1u) * params.ldb + own_b) + columns;
  return Four(select(vec4<f32>(), vec4(b[at.x], b[at.y], b[at.z], b[at.w]), k < depth));
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let row0 = wg.y * BM;
  let column0 = wg.x * 16u;
  let depth = min(params.k, (wg.z + 1u) * params.share);
  own_b = params.b_offset + params.n * (u32(row0 >= params.second) + u32(row0 >= params.third));
  product(wg.z * params.share, depth, row0, column0, t);
  for (var i = t; i < BM * 16u; i += THREADS) {
    // Neighbours in memory are written together.
    let by_row = params.transposed == 0u;
    let row = row0 + select(i % BM, i / 16u, by_row);
    let column = column0 + select(i / BM, i % 16u, by_row);
    if row >= params.m || column >= params.n { continue; }
    let within = select(column * params.m + row, row * params.n + column, by_row);
    parts[wg.z * params.stride + params.at + within] = sums[(row - row0) * 16u + column - column0];
  }
}
