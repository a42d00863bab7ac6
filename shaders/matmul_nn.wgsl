// y[M,N] (+)= scale · (mask ⊙ (e·F) + x·W): a linear layer's dx, with x = dy
// Shapes    x [M, ldx] from column x_offset, W [K, N] as stored, e [M, lde] from column e_offset and F [R, N]
//           (the LoRA part: e = s·dy·B, F = A; R = 0 without), y [M, N]; mask is the forward's dropout mask;
//           first_row: which row of the whole product the first one is.
// Dispatch  (⌈N/BN⌉, ⌈M/BM⌉, shares) workgroups of THREADS. With more than one share of K, `share` steps each, a multiple
//           of BK, y is [shares, M, N], for sum_shares.wgsl.
// Numerics  f32; the extension comes first, since the mask applies to it alone.
// Output    y =, or += with `accumulate`
struct Params {
  m: u32, n: u32, k: u32, r: u32,
  ldx: u32, x_offset: u32, lde: u32, e_offset: u32,
  accumulate: u32, share: u32,
  scale: f32,
  dropout_module: u32, first_row: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read> e: array<f32>;
@group(0) @binding(4) var<storage, read> f: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

const A_ALONG_K: bool = true;
const B_ALONG_K: bool = false;
const EXTENSION: u32 = 0u;
const MAIN: u32 = 1u;

fn a4(phase: u32, row: u32, k: u32) -> vec4<f32> {
  let within = min(row, params.m - 1u);
  if phase == MAIN { return x4(within * params.ldx + params.x_offset, k, params.k); }
  let at = places(within * params.lde + params.e_offset, k, params.r);
  return select(vec4<f32>(), vec4(e[at.x], e[at.y], e[at.z], e[at.w]), present(k, params.r));
}

fn b4(phase: u32, k: u32, column: u32) -> vec4<f32> {
  if phase == MAIN { return select(vec4<f32>(), weight4(min(k, params.k - 1u) * params.n, column, params.n), k < params.k); }
  let at = places(min(k, params.r - 1u) * params.n, column, params.n);
  return select(vec4<f32>(), vec4(f[at.x], f[at.y], f[at.z], f[at.w]), k < params.r);
}

// Where this share's result begins.
var<private> part: u32;

fn masked(row: u32, columns: vec4<u32>, v: vec4<f32>) -> vec4<f32> {
  let r = params.first_row + row;
  return vec4(
    dropped(v.x, r, columns.x), dropped(v.y, r, columns.y), dropped(v.z, r, columns.z), dropped(v.w, r, columns.w),
  );
}

fn store(row: u32, columns: vec4<u32>, values: vec4<f32>) {
  if row >= params.m { return; }
  for (var j = 0u; j < 4u; j++) {
    if columns[j] >= params.n { continue; }
    let at = part + row * params.n + columns[j];
    var value = values[j] * params.scale;
    if params.accumulate != 0u { value += y[at]; }
    y[at] = value;
  }
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let row0 = wg.y * BM;
  let column0 = wg.x * BN;
  let columns = columns_of(t) + column0;
  part = wg.z * params.m * params.n;
  accumulate(EXTENSION, vec2(0u, select(0u, params.r, wg.z == 0u)), row0, column0, t);
  acc0 = masked(row0 + row_of(0u, t), columns, acc0);
  acc1 = masked(row0 + row_of(1u, t), columns, acc1);
  acc2 = masked(row0 + row_of(2u, t), columns, acc2);
  acc3 = masked(row0 + row_of(3u, t), columns, acc3);
  let from_k = wg.z * params.share;
  accumulate(MAIN, vec2(from_k, min(params.k, from_k + params.share)), row0, column0, t);
  finish(row0, column0, t);
}
