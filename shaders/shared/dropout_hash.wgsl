// Dropout from a counter: the mask is a hash of (seed, module, row, column), so the backward pass
// recomputes it. Hash: PCG, Jarzynski & Olano, "Hash Functions for GPU Rendering", JCGT 9(3), 2020.
// Needs shared/step.wgsl and `params.dropout_module`.
fn pcg(v: u32) -> u32 {
  let state = v * 747796405u + 2891336453u;
  let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
  return (word >> 22u) ^ word;
}
fn dropped(x: f32, row: u32, column: u32) -> f32 {
  let hash = pcg(column ^ pcg(row ^ pcg(params.dropout_module ^ step.dropout_seed)));
  return select(0.0, x * step.dropout_scale, hash >= step.dropout_threshold);
}
