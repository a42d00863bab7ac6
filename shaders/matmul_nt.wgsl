// y[M,N] = scale · (x'·Wᵀ + e·Fᵀ) + bias + residual, with x' = dropout(x)
// Shapes    x [M, ldx] from column x_offset, W [N, K] as stored, e [M, lde] from column e_offset and F [N, R] (the LoRA
//           extension of K: e = s·x·Aᵀ, F = B; R = 0 without; columns from `second` and from `third` on have the next R
//           columns of e, and so have all of a tile), bias [N], residual and y [M, ldy] from column y_offset. first_row: which row of the whole product the first one is.
// Dispatch  (⌈N/BN⌉, ⌈M/BM⌉, 1) workgroups of THREADS.
// Numerics  f32; the extension comes first, so with F = 0 the result is the base's, bit for bit.
// Output    y =
struct Params {
  m: u32, n: u32, k: u32, r: u32,
  ldx: u32, x_offset: u32, ldy: u32, y_offset: u32,
  lde: u32, e_offset: u32, second: u32, third: u32,
  has_bias: u32, has_residual: u32,
  scale: f32,
  dropout_module: u32, first_row: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read> e: array<f32>;
@group(0) @binding(4) var<storage, read> f: array<f32>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read> residual: array<f32>;
@group(0) @binding(7) var<storage, read_write> y: array<f32>;

const A_ALONG_K: bool = true;
const B_ALONG_K: bool = true;
const EXTENSION: u32 = 0u;
const MAIN: u32 = 1u;

// Where the tile's columns of e begin.
var<private> own_e: u32;

// Four of a row of e or F, 0 beyond R.
fn low_rank(row: u32, k: u32, from_e: bool) -> vec4<f32> {
  if from_e {
    let at = places(row * params.lde + own_e, k, params.r);
    return select(vec4<f32>(), vec4(e[at.x], e[at.y], e[at.z], e[at.w]), present(k, params.r));
  }
  let at = places(row * params.r, k, params.r);
  return select(vec4<f32>(), vec4(f[at.x], f[at.y], f[at.z], f[at.w]), present(k, params.r));
}

fn a4(phase: u32, row: u32, k: u32) -> vec4<f32> {
  let within = min(row, params.m - 1u);
  if phase == EXTENSION { return low_rank(within, k, true); }
  let v = x4(within * params.ldx + params.x_offset, k, params.k);
  let r = params.first_row + row;
  return vec4(dropped(v.x, r, k), dropped(v.y, r, k + 1u), dropped(v.z, r, k + 2u), dropped(v.w, r, k + 3u));
}

fn b4(phase: u32, k: u32, column: u32) -> vec4<f32> {
  let within = min(column, params.n - 1u);
  if phase == EXTENSION { return low_rank(within, k, false); }
  return weight4(within * params.k, k, params.k);
}

fn store(row: u32, columns: vec4<u32>, values: vec4<f32>) {
  if row >= params.m { return; }
  for (var j = 0u; j < 4u; j++) {
    if columns[j] >= params.n { continue; }
    let at = row * params.ldy + params.y_offset + columns[j];
    var value = values[j] * params.scale;
    if params.has_bias != 0u { value += bias[columns[j]]; }
    if params.has_residual != 0u { value += residual[at]; }
    y[at] = value;
  }
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let row0 = wg.y * BM;
  let column0 = wg.x * BN;
  own_e = params.e_offset + params.r * (u32(column0 >= params.second) + u32(column0 >= params.third));
  accumulate(EXTENSION, vec2(0u, params.r), row0, column0, t);
  accumulate(MAIN, vec2(0u, params.k), row0, column0, t);
  finish(row0, column0, t);
}
