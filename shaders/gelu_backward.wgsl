// d_gate = dy·up·gelu'(gate), d_up = dy·gelu(gate); without a gate dx = dy·gelu'(x); and y once more
// Shapes    x [rows, 2·width]: gate, then up; or [rows, width], which its gradient replaces; dy [rows, width], which
//           y = gelu(gate)·up or gelu(x) replaces.
// Dispatch  ⌈rows·width/256⌉ workgroups of 256, in x and y.
// Numerics  f32; see shared/gelu.wgsl.
// Output    x =, dy =
struct Params { rows: u32, width: u32, }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> dy: array<f32>;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let i = (wg.y * grid.x + wg.x) * 256u + t;
  if i >= params.rows * params.width { return; }
  let at = i / params.width * select(1u, 2u, GATED) * params.width + i % params.width;
  let value = x[at];
  let d = dy[i];
  let activated = value * gelu_sigma(value);
  let slope = d * gelu_slope(value);
  if GATED {
    let up = x[at + params.width];
    x[at] = slope * up;
    x[at + params.width] = d * activated;
    dy[i] = activated * up;
  } else {
    x[at] = slope;
    dy[i] = activated;
  }
}
