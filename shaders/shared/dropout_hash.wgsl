// Dropout from a counter: the mask is a hash of (seed, module, row, column), so the backward pass
// recomputes it. Needs shared/pcg.wgsl, shared/step.wgsl and `params.dropout_module`.
fn dropped(x: f32, row: u32, column: u32) -> f32 {
  let hash = pcg(column ^ pcg(row ^ pcg(params.dropout_module ^ step.dropout_seed)));
  return select(0.0, x * step.dropout_scale, hash >= step.dropout_threshold);
}
