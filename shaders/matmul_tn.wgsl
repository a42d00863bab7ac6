// y[M,N] (+)= aᵀ·b', with b' = dropout(b): gradients of the adapter, dB = dyᵀ·xa and dA = dxaᵀ·x'
// Bindings  a is x and b is weights of the shared files.
// Shapes    a [K, lda] from column a_offset (M of them), b [K, ldb] from column b_offset (N of them),
//           y [M, N]; K counts tokens, from first_row on.
// Dispatch  (⌈N/BN⌉, ⌈M/BM⌉, 1) workgroups of THREADS.
// Numerics  f32, tokens in rising order.
// Output    y +=
struct Params {
  m: u32, n: u32, k: u32,
  lda: u32, a_offset: u32, ldb: u32, b_offset: u32,
  dropout_module: u32, first_row: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

const A_ALONG_K: bool = false;
const B_ALONG_K: bool = false;

fn a4(phase: u32, row: u32, k: u32) -> vec4<f32> {
  return select(vec4<f32>(), x4(min(k, params.k - 1u) * params.lda + params.a_offset, row, params.m), k < params.k);
}

fn b4(phase: u32, k: u32, column: u32) -> vec4<f32> {
  let v = weight4(min(k, params.k - 1u) * params.ldb + params.b_offset, column, params.n);
  let r = params.first_row + k;
  let kept = vec4(
    dropped(v.x, r, column), dropped(v.y, r, column + 1u), dropped(v.z, r, column + 2u), dropped(v.w, r, column + 3u),
  );
  return select(vec4<f32>(), kept, k < params.k);
}

fn store(row: u32, columns: vec4<u32>, values: vec4<f32>) {
  if row >= params.m { return; }
  for (var j = 0u; j < 4u; j++) {
    if columns[j] < params.n { y[row * params.n + columns[j]] += values[j]; }
  }
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let row0 = wg.y * BM;
  let column0 = wg.x * BN;
  accumulate(0u, vec2(0u, params.k), row0, column0, t);
  finish(row0, column0, t);
}
