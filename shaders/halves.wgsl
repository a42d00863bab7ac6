// y0 = x0 and y1 = x1, rounded to 16 bits or widened from them, as the shared files say
// Shapes    x0, y0 [4·quads0]; x1, y1 [4·quads1]; of 16 bits packed, two to a word, low half first.
// Dispatch  ⌈(quads0 + quads1)/256⌉ workgroups of 256, in x and y.
// Output    y0 =, y1 =
struct Params { quads0: u32, quads1: u32, }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x0: array<From>;
@group(0) @binding(2) var<storage, read> x1: array<From>;
@group(0) @binding(3) var<storage, read_write> y0: array<To>;
@group(0) @binding(4) var<storage, read_write> y1: array<To>;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let i = (wg.y * grid.x + wg.x) * 256u + t;
  if i < params.quads0 {
    let q = i;
    y0[q] = converted(x0[q]);
  } else if i < params.quads0 + params.quads1 {
    let q = i - params.quads0;
    y1[q] = converted(x1[q]);
  }
}
