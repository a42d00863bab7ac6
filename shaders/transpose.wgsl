// y = xᵀ, bits as they are: weights stored [in, out] (transformers' Conv1D), once when they are loaded
// Shapes    x [rows, columns], y [columns, rows], elements of 32 or 16 bits packed into words.
// Dispatch  ⌈words of y/256⌉ workgroups of 256, in x and y; a word of y each.
// Output    y =
struct Params { rows: u32, columns: u32, words: u32, }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let word = (wg.y * grid.x + wg.x) * 256u + t;
  if word >= params.words { return; }
  var bits = 0u;
  for (var j = 0u; j < PER_WORD; j++) {
    let i = word * PER_WORD + j;
    if i < params.rows * params.columns {
      bits |= element(i % params.rows * params.columns + i / params.rows) << (16u * j);
    }
  }
  y[word] = bits;
}
