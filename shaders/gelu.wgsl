// y = gelu(gate) ⊙ up, or gelu(x) without a gate   (GEGLU: Shazeer, arXiv:2002.05202); and x once more, if it is kept
// Shapes    x, kept [rows, 2·width]: gate, then up; or [rows, width]; y [rows, width].
// Dispatch  ⌈rows·width/WIDE/256⌉ workgroups of 256, in x and y.
// Numerics  f32; see shared/gelu.wgsl.
// Output    y =, kept =
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
  let gate = x_at(at);
  var value = gate * gelu_sigma(gate);
  kept_put(at, gate);
  if GATED {
    let up = x_at(at + count);
    value *= up;
    kept_put(at + count, up);
  }
  y_put(i, value);
}
