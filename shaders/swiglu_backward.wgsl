// d_gate = dy·up·σ·(1 + gate·(1 − σ)), d_up = dy·gate·σ, with σ = sigmoid(gate); and y once more
// Shapes    gate_up [rows, 2·width]: gate, then up, which their gradients replace; dy [rows, width], which
//           y = gate·σ·up replaces.
// Dispatch  ⌈rows·width/256⌉ workgroups of 256, in x and y.
// Numerics  as in swiglu.wgsl.
// Output    gate_up =, dy =
struct Params { rows: u32, width: u32, }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> gate_up: array<f32>;
@group(0) @binding(2) var<storage, read_write> dy: array<f32>;

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
  let up = gate_up[at + params.width];
  let d = dy[i];
  let sigma = 1.0 / (1.0 + exp(min(-gate, 80.0)));
  gate_up[at] = d * up * sigma * (1.0 + gate * (1.0 - sigma));
  gate_up[at + params.width] = d * gate * sigma;
  dy[i] = gate / (1.0 + exp(min(-gate, 80.0))) * up;
}
