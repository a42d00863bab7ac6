// y[:, y_first + j] = x[:, x_first + j], j < columns: the parts of a fused projection, to their own
// matrices and their gradients back
// Shapes    x [rows, ldx], y [rows, ldy].
// Dispatch  ⌈rows·columns/256⌉ workgroups of 256, in x and y.
// Output    y =, only in the columns named
struct Params { rows: u32, columns: u32, ldx: u32, x_first: u32, ldy: u32, y_first: u32, }
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
  if i >= params.rows * params.columns { return; }
  let row = i / params.columns;
  let column = i % params.columns;
  y[row * params.ldy + params.y_first + column] = x[row * params.ldx + params.x_first + column];
}
