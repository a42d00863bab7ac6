// y[M,N] = scale · x·W, with W in f32 and N small: matmul_nn.wgsl for LoRA's B
// Shapes    as in matmul_nn.wgsl, without extension, y [M, ldy]; K is a multiple of 8, ldx and x_offset of 4. Of products
//           beside each other the second's and the third's steps of K begin at `second` and `third`, and their columns of y
//           behind those before.
// Dispatch  (⌈N/16⌉, ⌈M/16⌉, products) workgroups of THREADS.
// Numerics  those of shared/coop_narrow.wgsl or shared/plain_narrow.wgsl.
// Output    y =
struct Params {
  m: u32, n: u32, k: u32,
  ldx: u32, x_offset: u32, ldy: u32,
  second: u32, third: u32,
  scale: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> weights: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

const B_ALONG_K: bool = false;
// The product's steps of K: the first, and how many.
var<private> from_k: u32;
var<private> own_k: u32;

fn a8(row: u32, k: u32) -> Eight {
  let at = (min(row, params.m - 1u) * params.ldx + params.x_offset + from_k + min(k, own_k - 8u)) >> 2u;
  let zero = vec4<f32>();
  return Eight(Four(select(zero, x_at(at), k < own_k)), Four(select(zero, x_at(at + 1u), k < own_k)));
}
fn b4(k: u32, column: u32) -> Four {
  let columns = min(vec4(column, column + 1u, column + 2u, column + 3u), vec4(params.n - 1u));
  let at = vec4((from_k + min(k, own_k - 1u)) * params.n) + columns;
  return Four(select(vec4<f32>(), vec4(weights[at.x], weights[at.y], weights[at.z], weights[at.w]), k < own_k));
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let starts = vec4(0u, params.second, params.third, params.k);
  // Not by way of a private variable: barriers ask for what all invocations are seen to have alike.
  let depth = starts[wg.z + 1u] - starts[wg.z];
  from_k = starts[wg.z];
  own_k = depth;
  product(wg.y * 16u, wg.x * 16u, depth, t);
  for (var i = t; i < 256u; i += THREADS) {
    let row = wg.y * 16u + i / 16u;
    let column = wg.x * 16u + i % 16u;
    if row < params.m && column < params.n {
      y[row * params.ldy + wg.z * params.n + column] = params.scale * sum_of_shares(i);
    }
  }
}
