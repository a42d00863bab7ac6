//! Values that change from step to step while the recorded plan stays the same.

use crate::params;

params! {
    /// Twin of `struct Step` in `shaders/shared/step.wgsl`.
    pub struct Step {
        /// 1 / number of target tokens in the whole optimizer step.
        loss_scale: f32,
        /// lr / (1 − β1ᵗ).
        step_size: f32,
        /// The same for t − 1: if one step more was skipped than the host knew of.
        step_size_1: f32,
        /// For t − 2.
        step_size_2: f32,
        /// √(1 − β2ᵗ).
        bias2_sqrt: f32,
        /// For t − 1.
        bias2_sqrt_1: f32,
        /// For t − 2.
        bias2_sqrt_2: f32,
        /// Steps that were skipped, as far as the host knows: t does not count them.
        skipped: u32,
        /// 1 − lr · weight_decay.
        decay: f32,
        /// 1 − β1.
        one_minus_beta1: f32,
        /// β2.
        beta2: f32,
        /// 1 − β2.
        one_minus_beta2: f32,
        /// ε.
        epsilon: f32,
        /// Clip the gradient to this global norm.
        max_grad_norm: f32,
        /// Differs for every micro-batch.
        dropout_seed: u32,
        /// An element is dropped if its hash is below; 0 drops nothing.
        dropout_threshold: u32,
        /// 1 / (1 − p).
        dropout_scale: f32,
    }
}

/// Settings of AdamW that do not change during a run (`torch.optim.AdamW`'s, and the clip).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Optimizer {
    /// β1.
    pub beta1: f64,
    /// β2.
    pub beta2: f64,
    /// ε.
    pub epsilon: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Global L2 norm to which the gradient is clipped; 0 clips nothing.
    pub max_grad_norm: f64,
}

impl Step {
    /// Values of optimizer step `t` (from 1) at learning rate `lr`; bias corrections in f64.
    pub fn optimizer(self, settings: &Optimizer, t: u64, lr: f64) -> Self {
        self.optimizer_after(settings, t, lr, 0)
    }

    /// As [`Self::optimizer`], where `skipped` of the steps before it were skipped. Of those under way up to two may
    /// still be: the kernel knows.
    pub fn optimizer_after(mut self, settings: &Optimizer, step: u64, lr: f64, skipped: u32) -> Self {
        let t = |late: u64| step.saturating_sub(u64::from(skipped) + late).max(1) as f64;
        let step_size = |late| (lr / (1.0 - settings.beta1.powf(t(late)))) as f32;
        let bias2_sqrt = |late| (1.0 - settings.beta2.powf(t(late))).sqrt() as f32;
        [self.step_size, self.step_size_1, self.step_size_2] = [0, 1, 2].map(step_size);
        [self.bias2_sqrt, self.bias2_sqrt_1, self.bias2_sqrt_2] = [0, 1, 2].map(bias2_sqrt);
        self.skipped = skipped;
        self.decay = (1.0 - lr * settings.weight_decay) as f32;
        self.one_minus_beta1 = (1.0 - settings.beta1) as f32;
        self.beta2 = settings.beta2 as f32;
        self.one_minus_beta2 = (1.0 - settings.beta2) as f32;
        self.epsilon = settings.epsilon as f32;
        // No limit: a number that stays finite when the kernel divides it by 1e-6.
        self.max_grad_norm = if settings.max_grad_norm > 0.0 { settings.max_grad_norm as f32 } else { 1e30 };
        self
    }

    /// Drops adapter inputs with probability `p` under `seed`; `p = 0` drops nothing.
    pub fn dropout(mut self, p: f64, seed: u32) -> Self {
        self.dropout_seed = seed;
        self.dropout_threshold = (p * 4_294_967_296.0) as u32;
        self.dropout_scale = (1.0 / (1.0 - p)) as f32;
        self
    }

    /// Divides the summed loss by the number of target tokens.
    pub fn targets(mut self, targets: usize) -> Self {
        self.loss_scale = (1.0 / targets.max(1) as f64) as f32;
        self
    }
}
