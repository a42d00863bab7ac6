// y[i,:] = scale·y[i,:] + x[r,:], in place, r = index[i] or i: residual additions, learned positions and
// the factor of Gemma's embeddings
// Shapes    y [rows, width]; x [any, width] and index [rows] as `mode` says: 0 neither (y is scaled alone),
//           1 x alone, 2 both.
// Dispatch  ⌈rows·width/256⌉ workgroups of 256, in x and y.
// Output    y =
struct Params { rows: u32, width: u32, mode: u32, scale: f32, }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> index: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let i = (wg.y * grid.x + wg.x) * 256u + t;
  if i >= params.rows * params.width { return; }
  var value = y[i] * params.scale;
  var row = i / params.width;
  if params.mode == 2u { row = index[row]; }
  if params.mode != 0u { value += x[row * params.width + i % params.width]; }
  y[i] = value;
}
