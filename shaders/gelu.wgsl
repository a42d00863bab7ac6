// y = gelu(gate) ⊙ up, or gelu(x) without a gate   (GEGLU: Shazeer, arXiv:2002.05202)
// Shapes    x [rows, 2·width]: gate, then up; or [rows, width]; y [rows, width].
// Dispatch  ⌈rows·width/256⌉ workgroups of 256, in x and y.
// Numerics  f32; see shared/gelu.wgsl.
// Output    y =
struct Params { rows: u32, width: u32, }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let i = (wg.y * grid.x + wg.x) * 256u + t;
  if i >= params.rows * params.width { return; }
  let at = i / params.width * select(1u, 2u, GATED) * params.width + i % params.width;
  var value = x[at] * gelu_sigma(x[at]);
  if GATED { value *= x[at + params.width]; }
  y[i] = value;
}
