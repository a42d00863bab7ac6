// y[M,N] = scale · x'·Wᵀ, with x' = dropout(x), W in f32 and N small: matmul_nt.wgsl for LoRA's A
// Shapes    as in matmul_nt.wgsl, without extension, bias and residual; K is a multiple of 8, ldx and x_offset of 4.
// Dispatch  (⌈N/16⌉, ⌈M/16⌉, 1) workgroups of THREADS.
// Numerics  those of shared/coop_narrow.wgsl or shared/plain_narrow.wgsl.
// Output    y =
struct Params {
  m: u32, n: u32, k: u32,
  ldx: u32, x_offset: u32, ldy: u32, y_offset: u32,
  scale: f32,
  dropout_module: u32, first_row: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> weights: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

const B_ALONG_K: bool = true;

fn x4(row: u32, k: u32) -> Four {
  let v = x_at((row * params.ldx + params.x_offset + k) >> 2u);
  let r = params.first_row + row;
  return Four(vec4(dropped(v.x, r, k), dropped(v.y, r, k + 1u), dropped(v.z, r, k + 2u), dropped(v.w, r, k + 3u)));
}
fn a8(row: u32, k: u32) -> Eight {
  let at = min(k, params.k - 8u);
  let zero = Four();
  let within = min(row, params.m - 1u);
  return Eight(select(zero, x4(within, at), k < params.k), select(zero, x4(within, at + 4u), k < params.k));
}
fn b4(k: u32, column: u32) -> Four {
  let at = min(column, params.n - 1u) * params.k + min(k, params.k - 4u);
  return Four(select(vec4<f32>(), weights[at >> 2u], k < params.k));
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  product(wg.y * 16u, wg.x * 16u, params.k, t);
  for (var i = t; i < 256u; i += THREADS) {
    let row = wg.y * 16u + i / 16u;
    let column = wg.x * 16u + i % 16u;
    if row < params.m && column < params.n {
      y[row * params.ldy + params.y_offset + column] = params.scale * sum_of_shares(i);
    }
  }
}
