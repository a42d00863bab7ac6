// y[M,N] = scale · (x'·Wᵀ + e·Fᵀ) + bias + residual, with x' = dropout(x)
// Shapes    x [M, ldx] from column x_offset, W [N, K] as stored, e [M, R] and F [N, R] (the LoRA
//           extension of K: e = s·x·Aᵀ, F = B; R = 0 without), bias [N], residual and
//           y [M, ldy] from column y_offset. first_row: which row of the whole product the first one is.
// Dispatch  (⌈N/BN⌉, ⌈M/BM⌉, 1) workgroups of THREADS.
// Numerics  f32; the extension comes first, so with F = 0 the result is the base's, bit for bit.
// Output    y =
struct Params {
  m: u32, n: u32, k: u32, r: u32,
  ldx: u32, x_offset: u32, ldy: u32, y_offset: u32,
  has_bias: u32, has_residual: u32,
  scale: f32,
  dropout_module: u32, first_row: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> e: array<f32>;
@group(0) @binding(4) var<storage, read> f: array<f32>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read> residual: array<f32>;
@group(0) @binding(7) var<storage, read_write> y: array<f32>;

const A_ALONG_K: bool = true;
const B_ALONG_K: bool = true;
const EXTENSION: u32 = 0u;
const MAIN: u32 = 1u;

fn a_at(phase: u32, row: u32, k: u32) -> f32 {
  if row >= params.m { return 0.0; }
  if phase == EXTENSION {
    if k >= params.r { return 0.0; }
    return e[row * params.r + k];
  }
  if k >= params.k { return 0.0; }
  return dropped(x[row * params.ldx + params.x_offset + k], params.first_row + row, k);
}

fn b_at(phase: u32, k: u32, column: u32) -> f32 {
  if column >= params.n { return 0.0; }
  if phase == EXTENSION {
    if k >= params.r { return 0.0; }
    return f[column * params.r + k];
  }
  if k >= params.k { return 0.0; }
  return weight(column * params.k + k);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let row0 = wg.y * BM;
  let column0 = wg.x * BN;
  clear_acc();
  accumulate(EXTENSION, params.r, row0, column0, t);
  accumulate(MAIN, params.k, row0, column0, t);
  for (var i = 0u; i < TM; i++) {
    let row = row0 + (t / (BN / 4u)) * TM + i;
    for (var j = 0u; j < 4u; j++) {
      let column = column0 + (t % (BN / 4u)) * 4u + j;
      if row >= params.m || column >= params.n { continue; }
      let at = row * params.ldy + params.y_offset + column;
      var value = acc[i][j] * params.scale;
      if params.has_bias != 0u { value += bias[column]; }
      if params.has_residual != 0u { value += residual[at]; }
      y[at] = value;
    }
  }
}
