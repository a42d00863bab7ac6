// y = silu(gate) ⊙ up   (Shazeer, arXiv:2002.05202)
// Shapes    gate_up [rows, 2·width]: gate, then up; y [rows, width].
// Dispatch  ⌈rows·width/256⌉ workgroups of 256, in x and y.
// Numerics  f32; below a gate of −80 exp would near f32's end, where division promises nothing.
// Output    y =
struct Params { rows: u32, width: u32, }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gate_up: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let i = (wg.y * grid.x + wg.x) * 256u + t;
  if i >= params.rows * params.width { return; }
  let at = i / params.width * 2u * params.width + i % params.width;
  let gate = gate_up[at];
  y[i] = gate / (1.0 + exp(min(-gate, 80.0))) * gate_up[at + params.width];
}
