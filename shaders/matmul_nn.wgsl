// y[M,N] (+)= scale · (mask ⊙ (e·F) + x·W): a linear layer's dx, with x = dy
// Shapes    x [M, ldx] from column x_offset, W [K, N] as stored, e [M, lde] from column e_offset and F [R, N]
//           (the LoRA part: e = s·dy·B, F = A; R = 0 without), y [M, N]; mask is the forward's dropout mask;
//           first_row: which row of the whole product the first one is.
// Dispatch  (⌈N/BN⌉, ⌈M/BM⌉, 1) workgroups of THREADS.
// Numerics  f32; the extension comes first, since the mask applies to it alone.
// Output    y =, or += with `accumulate`
struct Params {
  m: u32, n: u32, k: u32, r: u32,
  ldx: u32, x_offset: u32, lde: u32, e_offset: u32,
  accumulate: u32,
  scale: f32,
  dropout_module: u32, first_row: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> e: array<f32>;
@group(0) @binding(4) var<storage, read> f: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

const A_ALONG_K: bool = true;
const B_ALONG_K: bool = false;
const EXTENSION: u32 = 0u;
const MAIN: u32 = 1u;

fn a_at(phase: u32, row: u32, k: u32) -> f32 {
  if row >= params.m { return 0.0; }
  if phase == EXTENSION {
    if k >= params.r { return 0.0; }
    return e[row * params.lde + params.e_offset + k];
  }
  if k >= params.k { return 0.0; }
  return x[row * params.ldx + params.x_offset + k];
}

fn b_at(phase: u32, k: u32, column: u32) -> f32 {
  if column >= params.n { return 0.0; }
  if phase == EXTENSION {
    if k >= params.r { return 0.0; }
    return f[k * params.n + column];
  }
  if k >= params.k { return 0.0; }
  return weight(k * params.n + column);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let row0 = wg.y * BM;
  let column0 = wg.x * BN;
  let thread_row = row0 + (t / (BN / 4u)) * TM;
  let thread_column = column0 + (t % (BN / 4u)) * 4u;
  clear_acc();
  accumulate(EXTENSION, params.r, row0, column0, t);
  for (var i = 0u; i < TM; i++) {
    for (var j = 0u; j < 4u; j++) { acc[i][j] = dropped(acc[i][j], params.first_row + thread_row + i, thread_column + j); }
  }
  accumulate(MAIN, params.k, row0, column0, t);
  for (var i = 0u; i < TM; i++) {
    for (var j = 0u; j < 4u; j++) {
      if thread_row + i >= params.m || thread_column + j >= params.n { continue; }
      let at = (thread_row + i) * params.n + thread_column + j;
      var value = acc[i][j] * params.scale;
      if params.accumulate != 0u { value += y[at]; }
      y[at] = value;
    }
  }
}
