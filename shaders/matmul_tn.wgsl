// y[M,N] (+)= aᵀ·b', with b' = dropout(b): gradients of the adapter, dB = dyᵀ·xa and dA = dxaᵀ·x'
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
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

const A_ALONG_K: bool = false;
const B_ALONG_K: bool = false;

fn a_at(phase: u32, row: u32, k: u32) -> f32 {
  if row >= params.m || k >= params.k { return 0.0; }
  return a[k * params.lda + params.a_offset + row];
}

fn b_at(phase: u32, k: u32, column: u32) -> f32 {
  if column >= params.n || k >= params.k { return 0.0; }
  return dropped(b[k * params.ldb + params.b_offset + column], params.first_row + k, column);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let row0 = wg.y * BM;
  let column0 = wg.x * BN;
  clear_acc();
  accumulate(0u, params.k, row0, column0, t);
  for (var i = 0u; i < TM; i++) {
    let row = row0 + (t / (BN / 4u)) * TM + i;
    for (var j = 0u; j < 4u; j++) {
      let column = column0 + (t % (BN / 4u)) * 4u + j;
      if row >= params.m || column >= params.n { continue; }
      y[row * params.n + column] += acc[i][j];
    }
  }
}
