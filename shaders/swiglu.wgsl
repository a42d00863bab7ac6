// y = silu(gate) ⊙ up   (Shazeer, arXiv:2002.05202); and x once more, if it is kept
// Shapes    x, kept [rows, 2·width]: gate, then up; y [rows, width].
// Dispatch  ⌈rows·width/WIDE/256⌉ workgroups of 256, in x and y.
// Numerics  f32; below a gate of −80 exp would near f32's end, where division promises nothing.
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
  let at = i / count * 2u * count + i % count;
  let gate = x_at(at);
  let up = x_at(at + count);
  y_put(i, gate / (1.0 + exp(min(-gate, Part(80.0)))) * up);
  kept_put(at, gate);
  kept_put(at + count, up);
}
