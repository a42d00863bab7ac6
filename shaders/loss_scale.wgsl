// norm ← norm/scale, inverse ← 1/scale; then scale ← 2·scale after `interval` finite gradients in a row, and scale/2 after one
// that is not finite: dynamic loss scaling (Micikevicius et al., arXiv:1710.03740), with the factors of torch.amp.GradScaler
// Shapes    state [8] words: norm, scale, inverse (f32), finite gradients since the last change, steps skipped (u32).
// Dispatch  one workgroup of one.
// Numerics  f32; scale is a power of two between 1 and 2²⁴, so that neither it nor its inverse rounds.
// Output    state =
struct Params { interval: u32, }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> state: array<u32>;

const GREATEST: f32 = 16777216.0;

@compute @workgroup_size(1)
fn main() {
  let scale = bitcast<f32>(state[1]);
  // Told by its bits, since WGSL need not honour infinity and NaN.
  if (state[0] & 0x7f800000u) == 0x7f800000u {
    state[1] = bitcast<u32>(max(scale * 0.5, 1.0));
    state[3] = 0u;
    state[4] += 1u;
    return;
  }
  let inverse = 1.0 / scale;
  state[0] = bitcast<u32>(bitcast<f32>(state[0]) * inverse);
  state[2] = bitcast<u32>(inverse);
  state[3] += 1u;
  if state[3] >= params.interval {
    state[1] = bitcast<u32>(min(scale * 2.0, GREATEST));
    state[3] = 0u;
  }
}
