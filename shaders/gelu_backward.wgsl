// d_gate = dy·up·gelu'(gate), d_up = dy·gelu(gate); without a gate dx = dy·gelu'(x); and y once more
// Shapes    x [rows, 2·width]: gate, then up; or [rows, width], which its gradient replaces; dy, y [rows, width]:
//           y = gelu(gate)·up or gelu(x).
// Dispatch  ⌈rows·width/WIDE/256⌉ workgroups of 256, in x and y.
// Numerics  f32; see shared/gelu.wgsl.
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
  let at = i / count * select(1u, 2u, GATED) * count + i % count;
  let value = x_at(at);
  let d = dy_at(i);
  let activated = value * gelu_sigma(value);
  let slope = d * gelu_slope(value);
  if GATED {
    let up = x_at(at + count);
    x_put(at, slope * up);
    x_put(at + count, d * activated);
    y_put(i, activated * up);
  } else {
    x_put(at, slope);
    y_put(i, activated);
  }
}
