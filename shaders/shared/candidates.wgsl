// Tokens by the height of their value, the lower id first of those with the same: a bitonic sort (Batcher, 1968) of
// SLICE of them in workgroup memory.
const LANES: u32 = 256u;
const SLICE: u32 = 1024u;
const NONE: u32 = 0xffffffffu;
// Stands for -infinity, which WGSL need not honour.
const LOWEST: f32 = -3.0e38;
var<workgroup> value: array<f32, SLICE>;
var<workgroup> id: array<u32, SLICE>;

fn is_before(a: u32, b: u32) -> bool { return value[a] > value[b] || (value[a] == value[b] && id[a] < id[b]); }

fn sort(t: u32) {
  for (var size = 2u; size <= SLICE; size *= 2u) {
    for (var stride = size / 2u; stride > 0u; stride /= 2u) {
      workgroupBarrier();
      for (var pair = t; pair < SLICE / 2u; pair += LANES) {
        let a = 2u * pair - (pair & (stride - 1u));
        let b = a + stride;
        if is_before(b, a) == ((a & size) == 0u) {
          let old_value = value[a];
          let old_id = id[a];
          value[a] = value[b];
          id[a] = id[b];
          value[b] = old_value;
          id[b] = old_id;
        }
      }
    }
  }
  workgroupBarrier();
}
