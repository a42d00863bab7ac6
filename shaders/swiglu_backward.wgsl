// d_gate = dy·up·σ·(1 + gate·(1 − σ)), d_up = dy·gate·σ, with σ = sigmoid(gate); and y once more
// Shapes    x [rows, 2·width]: gate, then up, which their gradients replace; dy, y [rows, width]: y = gate·σ·up.
// Dispatch  ⌈rows·width/WIDE/256⌉ workgroups of 256, in x and y.
// Numerics  as in swiglu.wgsl.
// Output    x =, y =
struct Params { rows: u32, width: u32, }
@group(0) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let i = (wg.y * grid.x + wg.x) * 256u + t;
  let count = params.width / WIDE;
  if i >= params.rows * count { return; }
  let at = i / count * 2u * count + i % count;
  let gate = x_at(at);
  let up = x_at(at + count);
  let d = dy_at(i);
  let sigma = 1.0 / (1.0 + exp(min(-gate, Part(80.0))));
  x_put(at, d * up * sigma * (1.0 + gate * (1.0 - sigma)));
  x_put(at + count, d * gate * sigma);
  y_put(i, gate / (1.0 + exp(min(-gate, Part(80.0)))) * up);
}
