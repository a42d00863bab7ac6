// Values that change from step to step; the Rust twin is kernels::step::Step.
struct Step {
  loss_scale: f32,         // 1 / target tokens of the whole optimizer step
  step_size: f32,          // lr / (1 - beta1^t)
  step_size_1: f32,        // the same for t - 1
  step_size_2: f32,        // and for t - 2
  bias2_sqrt: f32,         // sqrt(1 - beta2^t)
  bias2_sqrt_1: f32,
  bias2_sqrt_2: f32,
  skipped: u32,            // steps that were skipped when t was counted
  decay: f32,              // 1 - lr * weight_decay
  one_minus_beta1: f32,
  beta2: f32,
  one_minus_beta2: f32,
  epsilon: f32,
  max_grad_norm: f32,
  dropout_seed: u32,       // differs for every micro-batch
  dropout_threshold: u32,  // an element is dropped if its hash is below; 0 drops nothing
  dropout_scale: f32,      // 1 / (1 - p)
}
@group(0) @binding(9) var<uniform> step: Step;
