// AdamW (Loshchilov & Hutter, arXiv:1711.05101) as torch.optim.AdamW computes it, after clipping the
// gradient by its global norm as torch.nn.utils.clip_grad_norm_ does:
//   g ← g·min(1, max_grad_norm/(norm + 1e-6));  p ← p·(1 − lr·wd);  m ← m + (1−β1)(g − m);
//   v ← β2·v + (1−β2)g²;  p ← p − lr/(1−β1ᵗ) · m/(√v/√(1−β2ᵗ) + ε)
// where t does not count skipped steps, and g was multiplied by the loss's scale
// Shapes    p, g, m, v [count], state [8] as in loss_scale.wgsl.
// Dispatch  ⌈count/256⌉ workgroups of 256, in x and y.
// Numerics  f32; bias corrections come from the host in f64. A norm that is not finite (told by its
//           bits, since WGSL need not honour NaN) leaves everything as it was.
// Output    p =, m =, v =
struct Params { count: u32, }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> p: array<f32>;
@group(0) @binding(2) var<storage, read> g: array<f32>;
@group(0) @binding(3) var<storage, read_write> m: array<f32>;
@group(0) @binding(4) var<storage, read_write> v: array<f32>;
@group(0) @binding(5) var<storage, read> state: array<u32>;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let i = (wg.y * grid.x + wg.x) * 256u + t;
  if i >= params.count || (state[0] & 0x7f800000u) == 0x7f800000u { return; }
  let clip = min(1.0, step.max_grad_norm / (bitcast<f32>(state[0]) + 1e-6));
  let gradient = g[i] * bitcast<f32>(state[2]) * clip;
  let late = state[4] - step.skipped;
  let step_size = select(select(step.step_size, step.step_size_1, late == 1u), step.step_size_2, late > 1u);
  let bias2_sqrt = select(select(step.bias2_sqrt, step.bias2_sqrt_1, late == 1u), step.bias2_sqrt_2, late > 1u);
  let first = fma(step.one_minus_beta1, gradient - m[i], m[i]);
  let second = fma(step.one_minus_beta2 * gradient, gradient, step.beta2 * v[i]);
  m[i] = first;
  v[i] = second;
  p[i] = p[i] * step.decay - step_size * first / (sqrt(second) / bias2_sqrt + step.epsilon);
}
